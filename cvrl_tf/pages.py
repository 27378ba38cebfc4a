"""Self-contained HTML pages."""

from typing import Any

import jinja2

import cvrl_tf


def render(package: str, template: str, **values: Any) -> str:
    """Renders a page as HTML. Values are escaped.

    Args:
      package: the package that contains the template.
      template: its file name. It may extend base.html, the style of all pages, and import from
        table.html.
      **values: variables of the template.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(package, ""), jinja2.PackageLoader("cvrl_tf", "")]
        ),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(version=cvrl_tf.__version__, **values)
