"""The licence of a bundle is an SPDX expression, or an error at `lock`: tools read it in the bill of materials."""

from __future__ import annotations

import pytest


def locked(project, expression: str):
    recipe = project.recipe.read_text().replace('version = "1"\n', f'version = "1"\nlicense = "{expression}"\n')
    project.write_recipe(recipe)
    return project.run("lock")


@pytest.mark.parametrize(
    "expression", ["MIT", "Apache-2.0 OR MIT", "GPL-2.0-only WITH Classpath-exception-2.0", "LicenseRef-Gemma"]
)
def test_an_expression_is_taken(plain_project, expression):
    locked(plain_project, expression).assert_success()


@pytest.mark.parametrize("expression", ["Apache 2", "llama3", "MIT AND", "(MIT"])
def test_what_is_none_is_refused(plain_project, expression):
    done = locked(plain_project, expression)
    assert done.status == 2
    assert done.err.startswith(f"error: bundle.license: '{expression}' is not an SPDX license expression: ")
    assert done.err.endswith(
        "  hint: such as Apache-2.0, or MIT OR Apache-2.0; a license without an SPDX name: LicenseRef-NAME\n"
    )


@pytest.mark.parametrize(("written", "meant"), [("mit", "MIT"), ("apache-2.0 or MIT", "Apache-2.0 OR MIT")])
def test_another_spelling_is_put_right(plain_project, written, meant):
    done = locked(plain_project, written)
    assert (done.status, done.err) == (
        2,
        f"error: bundle.license: '{written}' is not an SPDX license expression\n  hint: write {meant}\n",
    )
