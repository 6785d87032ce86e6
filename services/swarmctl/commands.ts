import type { AnyCommand } from "./command.ts";

/** A verb as help shows it; its module is loaded only when it runs. */
export interface VerbEntry {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly summary: string;
  load(): Promise<AnyCommand>;
}

export interface NounEntry {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly summary: string;
  readonly verbs: readonly VerbEntry[];
}

const rm = ["remove"];
const ls = ["list"];

export const nouns: readonly NounEntry[] = [
  {
    name: "service",
    aliases: ["svc"],
    summary: "Manage services",
    verbs: [
      { name: "create", summary: "Create a service", load: async () => (await import("./service/create.ts")).create },
      {
        name: "exec",
        summary: "Run a command in a container of a service",
        load: async () => (await import("./service/exec.ts")).exec,
      },
      { name: "inspect", summary: "Show a service", load: async () => (await import("./service/inspect.ts")).inspect },
      {
        name: "logs",
        aliases: ["log"],
        summary: "Show the output of a service or task",
        load: async () => (await import("./service/logs.ts")).logs,
      },
      { name: "ls", aliases: ls, summary: "List services", load: async () => (await import("./service/ls.ts")).list },
      { name: "ps", summary: "List the tasks of services", load: async () => (await import("./service/ps.ts")).ps },
      {
        name: "rm",
        aliases: rm,
        summary: "Remove services",
        load: async () => (await import("./service/rm.ts")).remove,
      },
      {
        name: "rollback",
        summary: "Go back to the spec before the last update",
        load: async () => (await import("./service/rollback.ts")).rollback,
      },
      {
        name: "scale",
        summary: "Set the number of tasks of services",
        load: async () => (await import("./service/scale.ts")).scale,
      },
      { name: "update", summary: "Update a service", load: async () => (await import("./service/update.ts")).update },
    ],
  },
  {
    name: "node",
    summary: "Manage nodes",
    verbs: [
      {
        name: "activate",
        summary: "Let a node take tasks",
        load: async () => (await import("./node/set.ts")).activate,
      },
      {
        name: "check",
        summary: "Test the way of packets between nodes",
        load: async () => (await import("./node/check.ts")).check,
      },
      { name: "demote", summary: "Make managers workers", load: async () => (await import("./node/set.ts")).demote },
      {
        name: "drain",
        summary: "Move all tasks off a node",
        load: async () => (await import("./node/drain.ts")).drain,
      },
      { name: "inspect", summary: "Show a node", load: async () => (await import("./node/inspect.ts")).inspect },
      { name: "ls", aliases: ls, summary: "List nodes", load: async () => (await import("./node/ls.ts")).list },
      { name: "pause", summary: "Give a node no new tasks", load: async () => (await import("./node/set.ts")).pause },
      { name: "promote", summary: "Make workers managers", load: async () => (await import("./node/set.ts")).promote },
      { name: "ps", summary: "List the tasks on nodes", load: async () => (await import("./node/ps.ts")).ps },
      { name: "rm", aliases: rm, summary: "Remove nodes", load: async () => (await import("./node/rm.ts")).remove },
      { name: "update", summary: "Update a node", load: async () => (await import("./node/update.ts")).update },
    ],
  },
  {
    name: "cluster",
    summary: "Manage the cluster",
    verbs: [
      {
        name: "ca",
        summary: "Show or rotate the root certificate",
        load: async () => (await import("./cluster/ca.ts")).ca,
      },
      {
        name: "inspect",
        summary: "Show the cluster",
        load: async () => (await import("./cluster/inspect.ts")).inspect,
      },
      {
        name: "join-token",
        summary: "Show or rotate a token by which nodes join",
        load: async () => (await import("./cluster/join-token.ts")).joinToken,
      },
      { name: "ls", aliases: ls, summary: "List clusters", load: async () => (await import("./cluster/ls.ts")).list },
      {
        name: "unlock-key",
        summary: "Show the key that unlocks managers",
        load: async () => (await import("./cluster/unlock-key.ts")).unlockKey,
      },
      { name: "update", summary: "Update the cluster", load: async () => (await import("./cluster/update.ts")).update },
    ],
  },
  {
    name: "task",
    summary: "Manage tasks",
    verbs: [
      {
        name: "exec",
        summary: "Run a command in a task's container",
        load: async () => (await import("./task/exec.ts")).exec,
      },
      { name: "inspect", summary: "Show a task", load: async () => (await import("./task/inspect.ts")).inspect },
      {
        name: "logs",
        aliases: ["log"],
        summary: "Show the output of tasks",
        load: async () => (await import("./service/logs.ts")).taskLogs,
      },
      { name: "ls", aliases: ls, summary: "List tasks", load: async () => (await import("./task/ls.ts")).list },
      { name: "rm", aliases: rm, summary: "Remove tasks", load: async () => (await import("./task/rm.ts")).remove },
    ],
  },
  {
    name: "network",
    summary: "Manage networks",
    verbs: [
      {
        name: "audit",
        summary: "Compare the nodes' networks with what should be, and mend them",
        load: async () => (await import("./network/audit.ts")).audit,
      },
      { name: "create", summary: "Create a network", load: async () => (await import("./network/create.ts")).create },
      { name: "inspect", summary: "Show a network", load: async () => (await import("./network/inspect.ts")).inspect },
      { name: "ls", aliases: ls, summary: "List networks", load: async () => (await import("./network/ls.ts")).list },
      {
        name: "rm",
        aliases: rm,
        summary: "Remove networks",
        load: async () => (await import("./network/rm.ts")).remove,
      },
    ],
  },
  {
    name: "image",
    summary: "Manage images on nodes",
    verbs: [
      { name: "inspect", summary: "Show an image", load: async () => (await import("./image/inspect.ts")).inspect },
      {
        name: "load",
        summary: "Load images from an archive onto nodes",
        load: async () => (await import("./image/load.ts")).load,
      },
      { name: "ls", aliases: ls, summary: "List images", load: async () => (await import("./image/ls.ts")).list },
      {
        name: "prune",
        summary: "Remove images that no task uses",
        load: async () => (await import("./image/prune.ts")).prune,
      },
      { name: "rm", aliases: rm, summary: "Remove images", load: async () => (await import("./image/rm.ts")).remove },
      {
        name: "save",
        summary: "Save images to an archive",
        load: async () => (await import("./image/save.ts")).save,
      },
    ],
  },
  {
    name: "volume",
    summary: "Manage volumes of nodes",
    verbs: [
      { name: "inspect", summary: "Show a volume", load: async () => (await import("./volume/inspect.ts")).inspect },
      { name: "ls", aliases: ls, summary: "List volumes", load: async () => (await import("./volume/ls.ts")).list },
      {
        name: "prune",
        summary: "Remove volumes that no container has mounted",
        load: async () => (await import("./volume/prune.ts")).prune,
      },
      { name: "rm", aliases: rm, summary: "Remove volumes", load: async () => (await import("./volume/rm.ts")).remove },
    ],
  },
  {
    name: "registry",
    summary: "Manage credentials for registries",
    verbs: [
      { name: "login", summary: "Keep credentials", load: async () => (await import("./registry/login.ts")).login },
      { name: "logout", summary: "Drop credentials", load: async () => (await import("./registry/login.ts")).logout },
    ],
  },
  {
    name: "secret",
    summary: "Manage secrets",
    verbs: [
      { name: "create", summary: "Create a secret", load: async () => (await import("./secret/create.ts")).create },
      { name: "inspect", summary: "Show a secret", load: async () => (await import("./secret/inspect.ts")).inspect },
      { name: "ls", aliases: ls, summary: "List secrets", load: async () => (await import("./secret/ls.ts")).list },
      { name: "rm", aliases: rm, summary: "Remove secrets", load: async () => (await import("./secret/rm.ts")).remove },
    ],
  },
  {
    name: "config",
    summary: "Manage configs",
    verbs: [
      { name: "create", summary: "Create a config", load: async () => (await import("./config/create.ts")).create },
      { name: "inspect", summary: "Show a config", load: async () => (await import("./config/inspect.ts")).inspect },
      { name: "ls", aliases: ls, summary: "List configs", load: async () => (await import("./config/ls.ts")).list },
      { name: "rm", aliases: rm, summary: "Remove configs", load: async () => (await import("./config/rm.ts")).remove },
    ],
  },
];

/** The entry that a word names, by name or alias. */
export function entryOf<E extends { readonly name: string; readonly aliases?: readonly string[] }>(
  entries: readonly E[],
  word: string | undefined,
): E | undefined {
  return entries.find(({ name, aliases }) => name === word || aliases?.includes(word ?? ""));
}

/** The noun and verb that the command line starts with, behind global flags. */
export function namedCommand(argv: readonly string[]): { noun?: NounEntry; verb?: VerbEntry; rest: readonly string[] } {
  const words: string[] = [];
  let at = 0;
  for (; at < argv.length && words.length < 2; at++) {
    const word = argv[at]!;
    if (word === "-s" || word === "--socket") at++;
    else if (word === "help" && words.length === 0) continue;
    else if (!word.startsWith("-")) words.push(word);
  }
  const noun = entryOf(nouns, words[0]);
  const verb = noun && entryOf(noun.verbs, words[1]);
  return { ...(noun && { noun }), ...(verb && { verb }), rest: argv.slice(at) };
}

/** `-q, --quiet` → `quiet`. */
export function longName(flags: string): string {
  return /--([a-z-]+)/.exec(flags)?.[1] ?? "";
}
