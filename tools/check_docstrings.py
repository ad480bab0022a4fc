"""Check the docstrings of all public names with numpydoc: ``check_docstrings.py [MODULE…]``.

Public names are the classes and functions in the ``__all__`` of a module without a leading underscore, and their public
methods and properties. ``[tool.numpydoc_validation]`` in ``pyproject.toml`` lists the checks. Arguments select modules,
named as ``zeroloss.datasets``, or names in them, by the module that defines the name.

Classes are checked by import, because numpydoc does not see the parameters of a dataclass in its source. A class
documents its parameters, or its attributes if callers only read them.
"""

import dataclasses
import importlib
import inspect
import pkgutil
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from numpydoc.docscrape import get_doc_object
from numpydoc.validate import Validator, get_validation_checks, validate

import zeroloss

ROOT = Path(__file__).parents[1]
#: First words of a summary that is not a sentence in the imperative.
NOT_VERBS = {"A", "An", "How", "Its", "The", "That", "This", "What", "When", "Where", "Whether", "Which", "Who"}


class PublicName(Validator):
    """A validator of one object, which reads the attributes of a class as its parameters if it documents only these."""

    def __init__(self, obj_name: str, value: object) -> None:
        super().__init__(get_doc_object(value, config={"show_class_members": False}))
        self.qualified_name = obj_name
        self.section = "Parameters"
        if inspect.isclass(value) and not self.doc["Parameters"] and self.doc["Attributes"]:
            self.section = "Attributes"

    @property
    def name(self) -> str:
        """The dotted name, also of a property."""
        return self.qualified_name

    @property
    def doc_all_parameters(self) -> dict[str, tuple[str, list[str]]]:
        """The documented parameters, or attributes."""
        return self._doc_parameters([self.section, "Other Parameters"])

    @property
    def signature_parameters(self) -> tuple[str, ...]:
        """The parameters, or the public fields of a dataclass that documents its attributes."""
        if getattr(self.obj, "_is_protocol", False):  # Its __init__ is not for callers.
            return ()
        if self.section == "Parameters":
            return super().signature_parameters
        documented = tuple(self.doc_all_parameters)
        fields = dataclasses.fields(self.obj) if dataclasses.is_dataclass(self.obj) else ()
        names = tuple(field.name for field in fields if not field.name.startswith("_"))
        others = [name for name in documented if name not in names and hasattr(self.obj, name)]  # properties
        return (*names, *others) if names else documented


def find_further_errors(checked: PublicName) -> Iterator[tuple[str, str]]:
    """Find errors that numpydoc does not check."""
    if checked.is_function_or_method and checked.summary.split(" ")[0] in NOT_VERBS:
        yield "SS05", "Summary must start with a verb in the imperative"
    for _, kinds, description in checked.doc["Raises"]:
        if not all(re.fullmatch(r"(\w+\.)*[A-Z]\w+", kind) for kind in kinds.split(", ")):
            yield "RS01", f"Raises: {kinds!r} should be names of exceptions, separated by commas"
        text = " ".join(description)
        if not text[:1].isupper() or not text.endswith("."):
            yield "RS02", f"Raises: the description of {kinds} should start with a capital letter and end with a period"


def find_public_objects(module_name: str) -> Iterator[tuple[str, object]]:
    """Find the public names of a module and its submodules, and the public methods and properties of classes."""
    module = importlib.import_module(module_name)
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        home = getattr(value, "__module__", None) or ""
        if not home.startswith("zeroloss") or not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        yield f"{home}.{name}", value
        if inspect.isclass(value):
            fields = getattr(value, "__dataclass_fields__", {})  # their defaults may be functions
            for member, attribute in vars(value).items():
                function = getattr(attribute, "__func__", attribute)
                if member.startswith("_") or member in fields:
                    continue
                if inspect.isfunction(function) or isinstance(attribute, property):
                    yield f"{home}.{name}.{member}", function
    for part in pkgutil.iter_modules(getattr(module, "__path__", ())):
        if not part.name.startswith("_"):
            yield from find_public_objects(f"{module_name}.{part.name}")


def find_errors(name: str, value: object) -> list[tuple[str, str]]:
    """Return the code and the text of every error in the docstring of an object."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["numpydoc_validation"]
    checks = get_validation_checks(set(settings["checks"])) | {"RS01", "RS02"}
    errors = [*validate(name, PublicName, value=value)["errors"], *find_further_errors(PublicName(name, value))]
    return [(code, text) for code, text in errors if code in checks]


def main(modules: list[str]) -> int:
    """Print every error in the docstrings of some modules, by default of all, and return the number of errors."""
    objects = dict(find_public_objects("zeroloss"))
    if modules:
        objects = {name: objects[name] for name in objects if any(f"{name}.".startswith(f"{m}.") for m in modules)}
        if not objects:
            print(f"no public name in {', '.join(modules)}")
            return 1
    lines = []
    for name, value in objects.items():
        checked = PublicName(name, value)
        place = f"{Path(checked.source_file_name).relative_to(zeroloss.__path__[-1])}:{checked.source_file_def_line}"
        lines += [f"{place}: {name}: {code} {text}" for code, text in find_errors(name, value)]
    print("\n".join(sorted(lines)), end="\n" if lines else "")
    return len(lines)


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
