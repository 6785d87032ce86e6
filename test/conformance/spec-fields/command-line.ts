import {
  Annotations,
  Cluster,
  ClusterSpec,
  Config,
  ConfigSpec,
  type MethodTable,
  Network,
  NetworkSpec,
  Node,
  NodeSpec,
  Secret,
  SecretSpec,
  Service,
} from "@starling/api";
import { nouns } from "../../../services/swarmctl/commands.ts";
import type { Context } from "../../../services/swarmctl/context.ts";
import { parseFlags } from "../../../services/swarmctl/parse-flags.ts";

const named = (name: string) => Annotations.create({ name });
const objects = {
  cluster: Cluster.create({ id: "cluster-id", spec: ClusterSpec.create({ annotations: named("default") }) }),
  node: Node.create({ id: "node-id", spec: NodeSpec.create() }),
  network: Network.create({ id: "net-id", spec: NetworkSpec.create({ annotations: named("net") }) }),
  secret: Secret.create({ id: "key-id", spec: SecretSpec.create({ annotations: named("key") }) }),
  config: Config.create({ id: "conf-id", spec: ConfigSpec.create({ annotations: named("conf") }) }),
} as const;
type Noun = keyof typeof objects | "service";

/** Runs one command of swarmctl against a manager that has one object of each kind; returns the spec that it writes. */
export async function specWrittenBy(line: readonly string[], input = "data"): Promise<unknown> {
  const [nounName, verbName, ...words] = line;
  const verb = nouns.find(({ name }) => name === nounName)?.verbs.find(({ name }) => name === verbName);
  if (verb === undefined) throw new Error(`swarmctl has no ${nounName} ${verbName}`);
  const command = await verb.load();
  const { flags, args } = parseFlags(command, words);
  let written: unknown;
  const call = async ({ path }: MethodTable<unknown, unknown, false, false>, request: { readonly spec?: unknown }) => {
    if (path.endsWith("/GetUnlockKey")) return { unlockKey: new Uint8Array(32) };
    const [, verb, noun] = /\/(List|Get|Create|Update)([A-Z][a-z]+?)s?$/.exec(path) ?? [];
    const key = noun!.toLowerCase() as Noun;
    if (verb === "List") return { [`${key}s`]: key === "service" ? [] : [objects[key]] };
    written = request.spec;
    const before = key === "service" ? Service.create({ id: "service-id" }) : objects[key];
    return { [key]: { ...before, spec: request.spec } };
  };
  const context = {
    client: { call } as unknown as Context["client"],
    signal: new AbortController().signal,
    out: () => undefined,
    err: () => undefined,
    readInput: async () => Buffer.from(input),
  } as unknown as Context;
  await command.run(context, args, flags);
  return written;
}
