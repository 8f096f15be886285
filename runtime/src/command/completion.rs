//! `completion`: scripts for shells. They ask this program, by `completion words`, what may follow.

use super::candidates::{self, Candidates};
use super::{Command, CommandError, print};
use crate::cli::UsageError;

/// `completion`.
pub const COMPLETION: Command = Command {
    name: "completion",
    arguments: "SHELL",
    about: "print a completion script for bash, zsh or fish",
    flags: &[],
    run: |_, parsed| {
        let words = parsed.arguments.iter().map(|word| word.to_string_lossy().into_owned());
        let words: Vec<String> = words.collect();
        let script = match words.split_first() {
            Some((first, rest)) if first == "words" => lines(&candidates::of(rest)),
            Some((shell, [])) => match shell.as_str() {
                "bash" => BASH.to_owned(),
                "zsh" => ZSH.to_owned(),
                "fish" => FISH.to_owned(),
                other => {
                    return Err(CommandError::other(format!(
                        "unknown shell {other:?}; expected bash, zsh or fish"
                    )));
                }
            },
            _ => return Err(UsageError::Arguments { command: "completion", expected: "exactly 1" }.into()),
        };
        print(&script)?;
        Ok(0)
    },
    enters: false,
};

/// One candidate a line, with what it is for after a tab; `:files` or `:directories` where the shell knows better.
fn lines(found: &Candidates) -> String {
    match found {
        Candidates::Files => ":files\n".to_owned(),
        Candidates::Directories => ":directories\n".to_owned(),
        Candidates::Words(list) => list.iter().map(|(word, about)| format!("{word}\t{about}\n")).collect(),
    }
}

const BASH: &str = r#"# bash completion for corten
_corten() {
  local word=${COMP_WORDS[COMP_CWORD]} found
  found=$("${COMP_WORDS[0]/#\~/$HOME}" completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  [ "$word" != = ] || word=
  case $found in
    :*) [[ $word != -*=* ]] || word=${word#*=} ;;
  esac
  case $found in
    :files) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
    :directories) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$word") ;;
    '') COMPREPLY=() ;;
    *) mapfile -t COMPREPLY <<< "$found"; COMPREPLY=("${COMPREPLY[@]%%$'\t'*}") ;;
  esac
}
complete -F _corten corten
"#;

const ZSH: &str = r#"#compdef corten
# zsh completion for corten: a file _corten in $fpath, or to be sourced.
_corten() {
  local found line
  local -a offered
  found=$("${(Q)words[1]/#\~/$HOME}" completion words -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)
  case $found in
    :*) [[ $PREFIX != -*=* ]] || compset -P '*=' ;;
  esac
  case $found in
    '') return 1 ;;
    :files) _files ;;
    :directories) _files -/ ;;
    *)
      for line in "${(@f)found}"; do
        offered+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
      done
      _describe corten offered
      ;;
  esac
}
if [ "${funcstack[1]}" = _corten ]; then
  _corten "$@"
else
  (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
  compdef _corten corten
fi
"#;

const FISH: &str = r#"# fish completion for corten
function __corten_complete
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  set -l found ($words[1] completion words -- $words[2..-1] "$current" 2>/dev/null)
  set -l prefix (string match -r -- '^-[^=]*=' $current)
  set -l value (string replace -r -- '^-[^=]*=' '' $current)
  switch "$found[1]"
    case ':files'
      printf '%s\n' "$prefix"(__fish_complete_path "$value")
    case ':directories'
      printf '%s\n' "$prefix"(__fish_complete_directories "$value" '')
    case '*'
      printf '%s\n' $found
  end
end
complete -c corten -f -a '(__corten_complete)'
"#;
