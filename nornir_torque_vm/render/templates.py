"""The templates: a site's own ones in ``template_dir`` go before the built-in ones.

Each is found by its file name. A site's template can build on the built-in one of the same name as
``builtin/<name>`` and fill in the blocks it leaves open. Whoever can write a template can have root start
anything, so the directory and its files must be root's alone.
"""

from __future__ import annotations

import functools
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    Template,
    TemplateError,
    TemplateNotFound,
    TemplatesNotFound,
    TemplateSyntaxError,
)
from jinja2.loaders import split_template_path
from markupsafe import Markup

from nornir_torque_vm.errors import SettingsError, TorqueVMError
from nornir_torque_vm.render.encode import xml
from nornir_torque_vm.trust import exposure

BUILT_IN = Path(__file__).parent.parent / "templates"
"""Directory of the built-in templates."""

_COMPILING = threading.Lock()
"""Guests of all nodes ask for the same template at once; to compile it takes 20 ms of processor time."""


def fill(name: str, own: str, /, **values: object) -> str:
    """Return the template ``name`` with ``values`` in it, each encoded for XML where it is printed.

    :param own: the setting ``template_dir``; empty: built-in templates only.
    :raises SettingsError: the template is wrong, with file and line, or others than root may write it.
    :raises RequestError: a value cannot be written into XML.
    """
    try:
        return template(name, own).render(**values)
    except TorqueVMError:
        raise
    except Exception as error:  # a template can raise anything
        raise template_error(error, own) from error


def template(name: str, own: str) -> Template:
    """Return a compiled template, once and for all of this process; it raises what jinja2 raises."""
    with _COMPILING:
        return compiled(name, own)


@functools.cache
def compiled(name: str, own: str) -> Template:
    """Return a compiled template; :func:`template` keeps threads from compiling it side by side."""
    return environment(own).get_template(name)


@functools.cache
def environment(own: str) -> Environment:
    """Return the environment in which templates are looked up and compiled."""
    built_in = FileSystemLoader(BUILT_IN)
    loaders: list[BaseLoader] = [built_in, PrefixLoader({"builtin": built_in})]
    if own:
        loaders.insert(0, _OwnTemplates(own))
    return Environment(
        loader=ChoiceLoader(loaders),
        undefined=StrictUndefined,
        autoescape=True,
        finalize=_encoded,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


class _OwnTemplates(BaseLoader):
    """Templates of the site, as long as only root can change them."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def get_source(
        self,
        environment: Environment,  # noqa: ARG002 - jinja2 calls it so
        template: str,
    ) -> tuple[str, str, Callable[[], bool] | None]:
        """Return text and path of a template.

        :raises TemplateNotFound: the site has none of that name.
        :raises SettingsError: it cannot be read, or others could have written it.
        """
        path = Path(self._directory, *split_template_path(template))
        try:
            refuse_exposed(self._directory)
            text = None
            if path.exists():
                refuse_exposed(str(path))
                text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            where = path if path.exists() else self._directory
            raise SettingsError(f"template_dir: {where} cannot be read: {reason}") from None
        if text is None:
            raise TemplateNotFound(template)
        return text, str(path), None


def refuse_exposed(path: str) -> None:
    """Refuse a template or a directory of templates that others than root could change.

    :raises SettingsError: they could; it says where.
    :raises OSError: it cannot be looked at.
    """
    reason = exposure(path)
    if reason:
        raise SettingsError(
            f"template_dir: {reason}, who could have root start anything",
            hint="give it to root and take the right to write from all others",
        )


def template_error(error: Exception, own: str) -> SettingsError:
    """Return what is wrong with a template as one line, with file and line number."""
    if isinstance(error, TemplateSyntaxError):
        return SettingsError(f"template {error.filename or error.name} line {error.lineno}: {error.message}")
    roots = tuple(f"{root}/" for root in (own, BUILT_IN) if root)
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    places = [f"template {file} line {line}: " for file, line in frames if file.startswith(roots)]
    where = places[-1] if places else ""
    if isinstance(error, TemplateNotFound) and not isinstance(error, TemplatesNotFound):
        return SettingsError(f"{where}there is no template {error.name}")
    kind = "" if isinstance(error, TemplateError) else f"{type(error).__name__}: "
    return SettingsError(f"{where}{kind}{error}")


def _encoded(value: object) -> Markup:
    """Encode whatever a template prints, so that no place in it can forget to."""
    return value if isinstance(value, Markup) else Markup(xml(str(value)))  # noqa: S704 - encoded
