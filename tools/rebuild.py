"""Compile changed sources of an editable installation. Other installations are not changed."""

import importlib.util


def rebuild() -> None:
    """Run CMake in the build folder of the editable installation, if there is one."""
    spec = importlib.util.find_spec("zeroloss")  # does not import the package
    compile_changes = getattr(spec.loader, "rebuild", None) if spec else None
    if compile_changes:
        compile_changes()


if __name__ == "__main__":
    rebuild()
