"""Shell completion: commands, groups, options, read from file names, so that it answers at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rerankbench.commands.table import COMMANDS, NAMES
from rerankbench.config.options import groups
from rerankbench.errors import ConfigError, nearest

_SCRIPTS = {
    "bash": """\
_rerankbench() {
    local IFS=$'\\n' words=("${COMP_WORDS[@]:1:COMP_CWORD}") line=${COMP_LINE:0:COMP_POINT}
    local last=${line##* }
    words=(${line// /$'\\n'}); words=("${words[@]:1}")
    [[ $line == *" " ]] && words+=("")
    COMPREPLY=($(rerankbench _complete "${words[@]}" 2>/dev/null))
    # readline splits words at "=": offer only what follows it
    [[ $last == *=* ]] && COMPREPLY=("${COMPREPLY[@]#"${last%"${last##*=}"}"}")
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
}
complete -F _rerankbench rerankbench""",
    "zsh": """\
#compdef rerankbench
_rerankbench() {
    local -a found
    found=("${(@f)$(rerankbench _complete "${words[@]:1}" 2>/dev/null)}")
    compadd -S '' -- $found
}
compdef _rerankbench rerankbench""",
    "fish": """\
complete -c rerankbench -f -a '(rerankbench _complete (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'""",
}


def main(words: Sequence[str], folders: Sequence[Path]) -> None:
    """Print the script."""
    print(script(words[0] if words else ""))


def complete(words: Sequence[str]) -> None:
    """Print the candidates: what the scripts call."""
    print("\n".join(candidates(words)))


def script(shell: str) -> str:
    """The script to source in this shell. Raises ConfigError for a shell there is none for."""
    if shell not in _SCRIPTS:
        raise ConfigError("completion", f"no script for {shell!r}; {nearest(shell, _SCRIPTS)}")
    return _SCRIPTS[shell]


def candidates(words: Sequence[str]) -> list[str]:
    """What the last word could become: a command, a group with `=`, an option of the group."""
    last = words[-1] if words else ""
    if len(words) <= 1:
        return [name for name in NAMES if name.startswith(last)]
    if words[0] == "completion":
        return [shell for shell in _SCRIPTS if shell.startswith(last)]
    if last.startswith("-") or words[0] == "export":
        options = COMMANDS[words[0]].options if words[0] in COMMANDS else ()
        return [option for option in options if option.startswith(last)]
    known = groups()
    group, equals, option = last.partition("=")
    if equals:
        return [f"{group}={name}" for name in known.get(group, ()) if name.startswith(option)]
    return [name if words[0] == "ls" else f"{name}=" for name in known if name.startswith(last)]
