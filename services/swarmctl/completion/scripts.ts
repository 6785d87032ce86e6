/** Pure: no clock, no I/O, no randomness. */

import { UsageError } from "../usage-error.ts";

/** Shells ask `swarmctl __complete -- WORDS…`, the last word being the one typed at; it answers a candidate a line. */
const scripts: Readonly<Record<string, string>> = {
  bash: `# bash completion for swarmctl: source <(swarmctl completion bash)
_swarmctl() {
  local IFS=$'\\n'
  COMPREPLY=($(swarmctl __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _swarmctl swarmctl
`,
  zsh: `#compdef swarmctl
# zsh completion for swarmctl: source <(swarmctl completion zsh)
_swarmctl() {
  local -a candidates
  candidates=("\${(@f)$(swarmctl __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  compadd -a candidates
}
compdef _swarmctl swarmctl
`,
  fish: `# fish completion for swarmctl: swarmctl completion fish | source
function __swarmctl_complete
  set -l words (commandline -opc) (commandline -ct)
  swarmctl __complete -- $words[2..-1] 2>/dev/null
end
complete -c swarmctl -f -a '(__swarmctl_complete)'
`,
};

/** The script of a shell. Throws UsageError on another one. */
export function completionScript(shell: string): string {
  const script = Object.hasOwn(scripts, shell) ? scripts[shell] : undefined;
  if (script === undefined) throw new UsageError(`"${shell}" is not one of ${Object.keys(scripts).join(", ")}`);
  return script;
}
