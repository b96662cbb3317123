"""Shell completion: commands, groups, options, read from file names, so that it answers at once."""

from __future__ import annotations

from collections.abc import Sequence

from rerankbench.config.options import groups
from rerankbench.errors import ConfigError, nearest

COMMANDS = ("eval", "train", "rerank", "ls", "show", "export", "ui", "completion")

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


def script(shell: str) -> str:
    """The script to source in this shell. Raises ConfigError for a shell there is none for."""
    if shell not in _SCRIPTS:
        raise ConfigError("completion", f"no script for {shell!r}; {nearest(shell, _SCRIPTS)}")
    return _SCRIPTS[shell]


def candidates(words: Sequence[str]) -> list[str]:
    """What the last word could become: a command, a group with `=`, an option of the group."""
    last = words[-1] if words else ""
    if len(words) <= 1:
        return [command for command in COMMANDS if command.startswith(last)]
    if words[0] == "completion":
        return [shell for shell in _SCRIPTS if shell.startswith(last)]
    if words[0] == "export":
        return [option for option in ("--to", "--hub", "--private") if option.startswith(last)]
    known = groups()
    if words[0] == "ls":
        return [group for group in known if group.startswith(last)]
    group, equals, option = last.partition("=")
    if equals:
        return [f"{group}={name}" for name in known.get(group, ()) if name.startswith(option)]
    return [f"{name}=" for name in known if name.startswith(last)]
