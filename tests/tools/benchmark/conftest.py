import sys

import pytest


@pytest.fixture
def interpreter(tmp_path):
    """Writes a Python of another environment: what each program prints there, or a failure."""

    def write(**says):
        path = tmp_path / "python"
        path.write_text(
            f"#!{sys.executable}\nimport os, sys\n"
            "name = os.path.basename(sys.argv[2])[:-3]\n"
            f"said = {says!r}[name]\n"
            "sys.exit(said[1:]) if said.startswith('!') else print('noise', said, sep='\\n')\n"
        )
        path.chmod(0o755)
        return str(path)

    return write
