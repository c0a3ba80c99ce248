"""Start a training script as ``python script.py`` would, with this folder's `azureml` at the end of its path.

    python _bootstrap.py GO_FD PARENT_PID script|exec SCRIPT [ARGUMENTS…]

Why not PYTHONPATH: it precedes site-packages, so the shim would shadow a real `azureml`. Here the shim is appended, and
only if the interpreter has no `azureml.core` of its own. Child processes with the same interpreter must find it too; they
inherit PYTHONPATH, which is set after the same check. One case remains: a script that starts a *different* interpreter
with a real azureml gets the shim there. That is rare, and better than children that cannot import what their parent could.

Before reading the script, this waits on GO_FD for ``{"rlimits": {…}}``; by then the launcher has added the process to its
limit group. A closed pipe means that the launcher has gone, and this process exits. Standard library only, Python 3.6 and
later; runs as ``__main__`` and leaves no trace there.
"""

import atexit
import importlib.machinery
import itertools
import os
import sys
import types


def main():
    go, parent, mode, target, arguments = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:]
    here = os.path.dirname(os.path.abspath(__file__))
    if sys.path and os.path.abspath(sys.path[0]) == here:
        del sys.path[0]
    die_with(parent)
    set_limits(wait_for_go(go))
    add_shim(os.path.dirname(here), target if mode == "script" else None)
    if mode == "exec":
        execute(target, arguments)
    explain_input()
    keep_figures(os.path.join(os.getcwd(), "outputs"))
    run(target, arguments)


def die_with(parent):
    """Let the kernel kill this process when the launcher ends, however it ends."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG
    except (ImportError, OSError, AttributeError):
        pass  # no ctypes, or not Linux: rely on the launcher's own clean-up
    if os.getppid() != parent:
        sys.exit("fitserve: the launcher of this run has ended")


def wait_for_go(descriptor):
    import json

    with os.fdopen(descriptor, "rb") as pipe:
        text = pipe.read()
    if not text:
        sys.exit("fitserve: the launcher of this run has ended")
    return json.loads(text.decode("utf-8"))


def set_limits(go):
    import resource

    for name, value in go.get("rlimits", {}).items():
        extra = name.endswith("_EXTRA")
        kind = getattr(resource, name[: -len("_EXTRA")] if extra else name, None)
        if kind is not None:
            limit = data_bytes() + value if extra else value
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (limit, limit) if hard == resource.RLIM_INFINITY else (min(limit, hard), hard))


def data_bytes():
    """Current data size of this process, as RLIMIT_DATA counts it."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0


def add_shim(shim, script):
    """Append `shim` to the path of this process and its children, if no azureml.core is found."""
    paths = ([os.path.dirname(os.path.realpath(script))] if script else []) + sys.path
    if finds_azureml(paths):
        return
    sys.path.append(shim)
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = inherited + os.pathsep + shim if inherited else shim


def finds_azureml(paths):
    spec = importlib.machinery.PathFinder.find_spec("azureml", paths)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return any(os.path.exists(os.path.join(f, part)) for f in folders for part in ("core", "core.py"))


def explain_input():
    """Make `input()` explain why there is nothing to read. A script may still replace `sys.stdin`."""
    import builtins

    original = builtins.input

    def input(*prompt):
        try:
            return original(*prompt)
        except EOFError:
            sentence = "a run has no keyboard, so input() gets no answer: give the value to the script as an argument"
            raise EOFError(sentence) from None

    builtins.input = input


def keep_figures(folder):
    """Make `plt.show()` save the open figures to `folder` and close them, as a user would close their windows.

    Figures still open at exit are saved too. matplotlib is not imported unless the script does so.
    """

    def save(*args, **kwargs):
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None or not hasattr(pyplot, "get_fignums"):
            return
        for number in pyplot.get_fignums():
            path = next(path for path in names if not os.path.exists(path))
            os.makedirs(folder, exist_ok=True)
            pyplot.figure(number).savefig(path)
            print("figure saved: outputs/{}".format(os.path.basename(path)))
            pyplot.close(number)

    names = (os.path.join(folder, "figure-{}.png".format(number)) for number in itertools.count(1))
    sys.meta_path.insert(0, PyplotFinder(save))


class PyplotFinder(object):
    """Replaces pyplot's `show` when the script imports it, and registers it to run at exit."""

    def __init__(self, show):
        self.show = show

    def find_spec(self, name, path=None, target=None):
        if name != "matplotlib.pyplot":
            return None
        sys.meta_path.remove(self)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in list(sys.meta_path))), None)
        load = getattr(getattr(spec, "loader", None), "exec_module", None)
        if load is not None:

            def exec_module(module):
                load(module)
                module.show = self.show
                atexit.register(
                    self.show
                )  # after matplotlib's own handler, which closes all figures, so this one runs first

            spec.loader.exec_module = exec_module
        return spec


def execute(program, arguments):
    try:
        os.execvp(program, [program] + arguments)  # noqa: S606
    except OSError as error:
        sys.exit("fitserve: cannot start {}: {}".format(program, error.strerror))


def run(script, arguments):
    """Run as the interpreter does: a fresh ``__main__``, the script's folder first on the path, no frame of ours in tracebacks."""
    sys.argv = [script] + arguments
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, os.path.dirname(os.path.realpath(script)))
    if os.path.isdir(script) or script.endswith((".zip", ".pyz", ".pyc")):
        import runpy

        runpy.run_path(script, run_name="__main__")
        return
    module = types.ModuleType("__main__")
    module.__dict__.update(
        __file__=os.path.abspath(script),
        __builtins__=__builtins__,
        __loader__=importlib.machinery.SourceFileLoader("__main__", script),
        __cached__=None,
    )
    sys.modules["__main__"] = module
    try:
        with open(script, "rb") as file:
            source = file.read()
        exec(compile(source, script, "exec", dont_inherit=True), module.__dict__)  # noqa: S102  the script itself
    except SystemExit:
        raise
    except BaseException:
        kind, error, trace = sys.exc_info()
        trace = trace.tb_next  # the frame of this function
        if isinstance(error, (SyntaxError, ValueError)) and trace is None:
            error = error.with_traceback(None)
        else:
            error = error.with_traceback(trace)
        sys.excepthook(kind, error, trace)
        code = 130 if isinstance(error, KeyboardInterrupt) else 1
    else:
        return
    sys.exit(code)


if __name__ == "__main__":
    main()
