"""Self-contained HTML pages."""

from typing import Any

import jinja2

import cvrl_tf


def render(package: str, template: str, **values: Any) -> str:
    """Renders a page; values are escaped.

    Args:
      package: the package that the template lies in.
      template: its name. It may extend base.html, which has the colours and the tables of all
        pages, and import from table.html.
      **values: for the template.
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
