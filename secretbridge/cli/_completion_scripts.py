"""The part of completion that runs in the shell: it hands the words on, and shows what comes back."""

from __future__ import annotations

__all__ = ["SCRIPTS"]

_BASH = """\
# Completion of secretbridge for bash: eval "$(secretbridge completion bash)", in ~/.bashrc for good.
_secretbridge() {
    local -a found
    # The line and not the words: bash takes the colons of references for ends of words.
    mapfile -t found < <("$1" completion bash --line "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    if [[ ${found[0]-} == ":files" ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$2")
    else
        COMPREPLY=("${found[@]}")
    fi
}
complete -F _secretbridge secretbridge
"""

_ZSH = """\
#compdef secretbridge
# Completion of secretbridge for zsh: eval "$(secretbridge completion zsh)" after compinit, or this
# text as a file `_secretbridge` in a directory of $fpath.
_secretbridge() {
    local -a found
    found=("${(@f)$("${(Q)words[1]}" completion zsh --words "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ $found[1] == ":files" ]]; then
        _files
    elif [[ -n $found[1] ]]; then
        _describe -V secretbridge found
    fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _secretbridge "$@"
else
    compdef _secretbridge secretbridge
fi
"""

_FISH = """\
# Completion of secretbridge for fish: secretbridge completion fish | source, or this text as
# ~/.config/fish/completions/secretbridge.fish.
function __secretbridge_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l found (command $words[1] completion fish --words $words[2..-1] "$current" 2>/dev/null)
    if test "$found[1]" = ":files"
        __fish_complete_path "$current"
    else
        printf '%s\\n' $found
    end
end
complete -c secretbridge -f -a '(__secretbridge_complete)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
"""By the name of the shell."""
