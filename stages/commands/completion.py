"""A shell's name in; what its start-up file has to hold, for names to be completed, out."""

import click
from click.shell_completion import get_completion_class

_VARIABLE = "_DECANT_COMPLETE"
# How each shell is told of it: lines above the code.
_WHERE = {
    "bash": (
        '# In ~/.bashrc:  eval "$(decant completion bash)"',
        "# Without this, bash would take `train_student@kd` for two words.",
        "COMP_WORDBREAKS=${COMP_WORDBREAKS//@/}",
    ),
    "zsh": ('# In ~/.zshrc, below compinit:  eval "$(decant completion zsh)"',),
    "fish": ("# decant completion fish > ~/.config/fish/completions/decant.fish",),
}


@click.command()
@click.argument("shell", type=click.Choice(list(_WHERE)))
def completion(shell: str) -> None:
    """Print the code that makes SHELL complete commands, options and names, and where to put it.

    Names are those of stages, teachers, baselines, students, stores, networks and profiles of the
    project that one stands in.
    """
    from stages.cli import main

    found = get_completion_class(shell)
    assert found is not None, "click knows these three"
    complete = found(main, {}, "decant", _VARIABLE)
    code = complete.source_template % complete.source_vars()
    click.echo("\n".join((*_WHERE[shell], code.strip())))
