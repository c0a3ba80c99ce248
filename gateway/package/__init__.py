"""From models of a workspace to an image of their own, and to manifests for Kubernetes.

`collect` looks up what a package holds, `write` writes the build context, `load` makes a workspace of it again inside the
image, `kubernetes.write` writes manifests.
"""
