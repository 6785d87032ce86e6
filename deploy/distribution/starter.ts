import { lean } from "./lean.ts";

/** bin/PROGRAM of a distribution, a script for any POSIX shell. */
export function starterOf(program: "swarmd" | "swarmctl"): string {
  // Node's own compile cache is of no use beside run.cjs's, and would go to /tmp.
  const env = { NODE_DISABLE_COMPILE_CACHE: "1", ...(program === "swarmd" ? lean.env : {}) };
  return `${[
    "#!/bin/sh",
    "self=$0",
    '[ ! -h "$0" ] || self=$(readlink -f "$0")',
    `lib=\${self%/*}/../lib`,
    ...Object.entries(env).map(([key, value]) => `export ${key}="${value}"`),
    ...(program === "swarmd" ? roleOfSwarmd : []),
    `exec "$lib/node" ${program === "swarmd" ? "$flags " : ""}"$lib/run.cjs" ${program} "$@"`,
  ].join("\n")}\n`;
}

/**
 * A manager is who has a Raft log, or begins a swarm: who has no certificate yet and joins nobody. Who joins and turns out to be
 * one starts anew (services/swarmd/manager-process.ts), with STARLING_ROLE set.
 */
const roleOfSwarmd = [
  "state=/var/lib/swarmd joins= previous=",
  "for argument; do",
  "  case $previous in -d | --state-dir) state=$argument ;; esac",
  "  case $argument in",
  `    --state-dir=*) state=\${argument#*=} ;;`,
  `    -d?*) state=\${argument#-d} ;;`,
  "    --join-addr*) joins=yes ;;",
  "  esac",
  "  previous=$argument",
  "done",
  'if [ -d "$state/raft" ]; then STARLING_ROLE=manager',
  'elif [ ! "$joins" ] && [ ! -e "$state/certificates" ]; then STARLING_ROLE=manager; fi',
  `export STARLING_STARTER="$self" STARLING_ROLE="\${STARLING_ROLE:-worker}"`,
  "case $STARLING_ROLE in",
  `  manager) flags="${lean.flags.manager.join(" ")}" ;;`,
  `  *) flags="${lean.flags.worker.join(" ")}" ;;`,
  "esac",
];
