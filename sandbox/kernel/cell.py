"""The worker: one Python session that runs cell after cell, as a notebook would. It shares its process with the user's code and so is trusted by nobody."""

from __future__ import annotations

import ast
import asyncio
import builtins
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import io
import linecache
import os
import signal
import socket
import sys
import traceback
import types
from collections.abc import Callable

import frames

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_CODE_BYTES = 8 * 1024 * 1024


def serve_cells(control: socket.socket, output_fd: int) -> None:
    """Run every cell that the supervisor sends, until it hangs up. What is printed goes to `output_fd`."""
    decoder = frames.FrameDecoder(_MAX_CODE_BYTES)
    session = PythonSession()
    while data := control.recv(1 << 20):
        for header, body in decoder.feed(data):
            if "heard" in header:
                continue  # of an image whose cell was interrupted while it waited for this
            request = header["request"]

            def show_image(png: bytes, request: int = request) -> None:
                _flush()
                control.sendall(frames.encode({"event": "image", "request": request}, png))
                # An image and the text after it go two ways, and would overtake each other on a busy machine.
                _await_heard(control, decoder)

            _connect_output(output_fd)
            status = session.run(body.decode(), show_image)
            _flush()
            control.sendall(frames.encode({"event": "finished", "request": request, "status": status}))


def _await_heard(control: socket.socket, decoder: frames.FrameDecoder) -> None:
    while data := control.recv(1 << 16):
        if any("heard" in answer for answer, _ in decoder.feed(data)):
            return


class PythonSession:
    """The variables of the session and what a cell may do besides plain Python: show a value, show a figure."""

    def __init__(self) -> None:
        self._module = types.ModuleType("__main__")
        self._module.__dict__["display"] = self.display
        sys.modules["__main__"] = self._module
        builtins.input = _refuse_input
        self._num_cells = 0
        self._show_image: Callable[[bytes], None] = lambda png: None
        self._loop: asyncio.AbstractEventLoop | None = None
        _adapt_libraries(self.show_figures, self.display)

    def run(self, code: str, show_image: Callable[[bytes], None]) -> str:
        """ "ok", "error" or "interrupted". The traceback of an error goes to stderr, as text for the model."""
        self._num_cells += 1
        self._show_image = show_image
        name = f"<cell {self._num_cells}>"
        try:
            signal.signal(signal.SIGINT, _interrupt_once)
            self._execute(code, name)
            self.show_figures()
            return "ok"
        except KeyboardInterrupt as error:
            _print_error(error)
            return "interrupted"
        except SystemExit as error:
            if error.code in (None, 0):
                return "ok"
            print(f"SystemExit: {error.code}", file=sys.stderr)
            return "error"
        except BaseException as error:
            _print_error(error)
            return "error"
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            _close_figures()

    def display(self, *values: object) -> None:
        """Show values as the last expression of a cell is shown. Code finds it as `display`, as in a notebook."""
        for value in values:
            self._show(value)

    def show_figures(self) -> None:
        """Every open figure as an image, closed afterwards: what `plt.show()` means where nobody has a window."""
        pyplot = sys.modules.get("matplotlib.pyplot")
        for number in pyplot.get_fignums() if pyplot else ():
            self._show_figure(pyplot.figure(number))
            pyplot.close(number)

    def _execute(self, code: str, name: str) -> None:
        code = _without_magics(code)
        lines = code.splitlines(keepends=True)
        linecache.cache[name] = (len(code), None, lines, name)
        tree = ast.parse(code, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        self._evaluate(compile(tree, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True))
        # A trailing semicolon keeps the value to itself, as in a notebook.
        if last is not None:
            value = self._evaluate(compile(ast.Expression(last.value), name, "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True))
            if not code.rstrip().endswith(";"):
                self._show_result(value)

    def _evaluate(self, compiled: types.CodeType) -> object:
        if not compiled.co_flags & inspect.CO_COROUTINE:
            return eval(compiled, self._module.__dict__)
        self._loop = self._loop or asyncio.new_event_loop()
        return self._loop.run_until_complete(eval(compiled, self._module.__dict__))

    def _show_result(self, value: object) -> None:
        if value is not None:
            self._show(value)
            self._module.__dict__["_"] = value

    def _show(self, value: object) -> None:
        figure_type = getattr(sys.modules.get("matplotlib.figure"), "Figure", ())
        if isinstance(value, figure_type):
            self._show_figure(value)
            sys.modules["matplotlib.pyplot"].close(value)
            return
        as_png = None if isinstance(value, type) else getattr(value, "_repr_png_", None)
        png = as_png() if callable(as_png) else None
        if isinstance(png, bytes) and png.startswith(PNG_SIGNATURE):
            self._show_image(png)
        else:
            sys.stdout.write(f"{value!r}\n")

    def _show_figure(self, figure: object) -> None:
        png = io.BytesIO()
        figure.savefig(png, format="png", bbox_inches="tight")
        self._show_image(png.getvalue())


def _adapt_libraries(show_figures: Callable[..., None], display: Callable[..., None]) -> None:
    """What notebooks set up for people, for models: `plt.show()` shows, tables are wide, `from IPython.display import display` works."""

    def adapt_pyplot(pyplot: types.ModuleType) -> None:
        # Plain functions: when the backend is chosen, pyplot writes an attribute on `show`.
        pyplot.show = lambda *args, **kwargs: show_figures()
        pyplot.Figure.show = lambda figure, warn=True: display(figure)

    adaptations = {
        "matplotlib.pyplot": adapt_pyplot,
        "pandas": lambda pandas: pandas.set_option("display.width", 120, "display.max_columns", 30),
        "numpy": lambda numpy: numpy.random.seed(),  # a forked worker would repeat the numbers of the one before
    }
    for name, adapt in adaptations.items():
        if name in sys.modules:
            adapt(sys.modules[name])
    sys.meta_path.insert(0, _AdaptingFinder({name: adapt for name, adapt in adaptations.items() if name not in sys.modules}))
    ipython, ipython_display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython_display.display = display
    # Libraries that find IPython loaded ask it which one it is, and whether they are in a notebook: they are not.
    ipython.display, ipython.version_info, ipython.get_ipython = ipython_display, (9, 0, 0), lambda: None
    sys.modules["IPython"], sys.modules["IPython.display"] = ipython, ipython_display


class _AdaptingFinder(importlib.abc.MetaPathFinder):
    """Adapts a library that was not there at first at the moment when it is imported."""

    def __init__(self, adaptations: dict[str, Callable[[types.ModuleType], None]]) -> None:
        self._adaptations = adaptations

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        adapt = self._adaptations.pop(fullname, None)  # popped first: find_spec below asks every finder, this one included
        spec = importlib.util.find_spec(fullname) if adapt else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_adapt(module: types.ModuleType) -> None:
            execute(module)
            adapt(module)

        spec.loader.exec_module = execute_and_adapt
        return spec


def _close_figures() -> None:
    try:
        if pyplot := sys.modules.get("matplotlib.pyplot"):
            pyplot.close("all")
    except Exception:
        pass  # code can break what it shares a process with; the next cell shall run all the same


def _connect_output(output_fd: int) -> None:
    """stdout and stderr as they were at first: a cell that closed or replaced them must not silence those after it."""
    for fd, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(output_fd, fd)
        setattr(sys, name, open(fd, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False))


def _interrupt_once(signum: int, frame: object) -> None:
    # Once: a second one could strike while the first is being reported.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _refuse_input(prompt: object = "") -> str:
    raise RuntimeError("input() is not available: nobody can type here. Write the value into the code.")


def _without_magics(code: str) -> str:
    """Blank the lines that only a notebook understands (`%matplotlib inline`), and refuse the shell by name. Valid Python is returned as it is."""
    try:
        ast.parse(code)
        return code
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        lines = code.splitlines(keepends=True)
    for number, line in enumerate(lines):
        if line.lstrip().startswith("!"):
            raise RuntimeError(f"line {number + 1}: shell commands are not available here, and no package can be installed. Use plain Python.")
        if line.startswith("%") and not line.startswith("%%"):
            lines[number] = "\n"
    return "".join(lines)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # the code closed or replaced it


def _print_error(error: BaseException) -> None:
    _flush()
    try:
        text = "".join(_shortened(traceback.TracebackException.from_exception(error)).format())
    except (RecursionError, MemoryError):
        text = f"{type(error).__name__}\n"
    try:
        sys.stderr.write(text.rstrip("\n") + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass  # the code closed stderr or put something else in its place: there is nowhere left to say it


def _shortened(report: traceback.TracebackException) -> traceback.TracebackException:
    """Only what helps to correct the code: its own lines and the last one of the library; causes inside libraries are left out."""
    own = [frame for frame in report.stack if frame.filename.startswith("<cell ")]
    last = report.stack[-1:]
    in_library = bool(last) and "/site-packages/" in last[0].filename
    shown = own + (last if in_library else [])
    report.stack = traceback.StackSummary.from_list(shown) if shown else None
    for name in ("__cause__", "__context__"):
        inner = getattr(report, name)
        if inner is not None:
            is_ours = any(frame.filename.startswith("<cell ") for frame in inner.stack)
            setattr(report, name, _shortened(inner) if is_ours else None)
    return report
