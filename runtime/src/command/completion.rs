//! `completion`: scripts for shells, from the table of commands.

use super::{COMMANDS, Command, CommandError, GLOBAL, PROGRAM, VERBS, print};
use crate::cli::{Flag, UsageError};

/// `completion`.
pub const COMPLETION: Command = Command {
    name: "completion",
    arguments: "SHELL",
    about: "print a completion script for bash, zsh or fish",
    flags: &[],
    run: |_, parsed| {
        let script = match parsed.words()?.as_slice() {
            ["bash"] => bash(),
            // zsh reads bash's completions, if they are written with what both have: no mapfile, arithmetic in $(( )).
            ["zsh"] => format!("autoload -U +X bashcompinit && bashcompinit\n{}", bash()),
            ["fish"] => fish(),
            [other] => {
                return Err(CommandError::other(format!(
                    "unknown shell {other:?}; expected bash, zsh or fish"
                )));
            }
            _ => return Err(UsageError::Arguments { command: "completion", expected: "exactly 1" }.into()),
        };
        print(&script)?;
        Ok(0)
    },
    enters: false,
};

fn dashed(flags: &[Flag]) -> String {
    let names = flags.iter().flat_map(|flag| {
        let short = (flag.short.len() == 1).then(|| format!("-{}", flag.short));
        [Some(format!("--{}", flag.name)), short].into_iter().flatten()
    });
    names.collect::<Vec<_>>().join(" ")
}

/// The verbs below a command, with their flags.
fn verbs_of(command: &Command) -> impl Iterator<Item = (&'static str, &'static [Flag])> {
    let below = format!("{} ", command.name);
    let known = VERBS.iter();
    known.filter_map(move |verb| Some((verb.name.strip_prefix(&below)?, verb.flags)))
}

fn bash() -> String {
    let commands = COMMANDS.iter().map(|command| command.name).collect::<Vec<_>>().join(" ");
    let mut script = format!(
        "_{PROGRAM}() {{\n  local cur=${{COMP_WORDS[COMP_CWORD]}} word command= flags\n  \
         for word in \"${{COMP_WORDS[@]:1:$((COMP_CWORD - 1))}}\"; do\n    \
         case \" {commands} help \" in *\" $word \"*) command=$word; break ;; esac\n  done\n  \
         case $command in\n    '') flags='{} {commands} help' ;;\n",
        dashed(GLOBAL)
    );
    for command in COMMANDS {
        let own = dashed(command.flags);
        let verbs =
            verbs_of(command).map(|(verb, flags)| format!(" {verb} {}", dashed(flags))).collect::<String>();
        script.push_str(&format!("    {}) flags='{}' ;;\n", command.name, format!("{own}{verbs}").trim()));
    }
    script.push_str(&format!(
        "    help) flags='{commands}' ;;\n  esac\n  \
         if [[ $cur != -* && -n $command && $command != help && $command != completion ]]; then\n    \
         flags=\"$flags $({PROGRAM} list -q 2>/dev/null)\"\n  fi\n  \
         COMPREPLY=($(compgen -W \"$flags\" -- \"$cur\"))\n  \
         [ ${{#COMPREPLY[@]}} -gt 0 ] || {{ local IFS=$'\\n'; COMPREPLY=($(compgen -f -- \"$cur\")); }}\n}}\n\
         complete -F _{PROGRAM} {PROGRAM}\n"
    ));
    script
}

fn fish() -> String {
    let mut script = String::new();
    let flag = |condition: &str, flag: &Flag| {
        let short = if flag.short.len() == 1 { format!(" -s {}", flag.short) } else { String::new() };
        let value = if flag.value.is_empty() { "" } else { " -r" };
        let help = flag.help.replace('\'', "\\'");
        format!("complete -c {PROGRAM} -n '{condition}' -l {}{short}{value} -d '{help}'\n", flag.name)
    };
    for global in GLOBAL {
        script.push_str(&flag("__fish_use_subcommand", global));
    }
    for command in COMMANDS {
        let about = command.about.replace('\'', "\\'");
        let name = command.name;
        script
            .push_str(&format!("complete -c {PROGRAM} -f -n __fish_use_subcommand -a {name} -d '{about}'\n"));
        let here = format!("__fish_seen_subcommand_from {name}");
        for option in command.flags {
            script.push_str(&flag(&here, option));
        }
        for (verb, flags) in verbs_of(command) {
            script.push_str(&format!("complete -c {PROGRAM} -f -n '{here}' -a {verb}\n"));
            for option in flags {
                script.push_str(&flag(&format!("{here}; and __fish_seen_subcommand_from {verb}"), option));
            }
        }
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_verb_and_flag_is_completed() {
        let (bash, fish) = (bash(), fish());
        for command in COMMANDS.iter().chain(VERBS) {
            for word in command.name.split(' ') {
                assert!(bash.contains(word) && fish.contains(&format!("-a {word}")), "{word}");
            }
            for flag in command.flags {
                assert!(bash.contains(&format!("--{}", flag.name)), "{}", flag.name);
                assert!(fish.contains(&format!("-l {} ", flag.name)), "{}", flag.name);
            }
        }
    }
}
