"""`azureml.core.image`."""

from azureml._fitserve.unsupported import unsupported

_INSTEAD = "fitserve package makes what docker build makes an image of"

ContainerImage = unsupported("ContainerImage", _INSTEAD)
Image = unsupported("Image", _INSTEAD)
