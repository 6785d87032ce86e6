import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { SwarmError } from "@starling/base";
import { startRegistry } from "../images/registry.ts";
import { TestCluster } from "./cluster.ts";
import { repositoryRoot } from "./paths.ts";
import { listClusters } from "./records.ts";
import { roleOf, Swarm } from "./swarm.ts";

const defaultHosts = ["reg", "m1", "m2", "m3", "w1", "w2"];

const usage = `usage: npm run cluster -- [--name NAME] COMMAND
  up [--bare]      makes hosts ${defaultHosts.join(" ")} with a registry on reg and a swarm on the others (--bare: hosts only)
  down             ends and removes them all
  status           what is up
  exec HOST CMD…   runs a command in a host, or without CMD a shell
  kill HOST        the power cut
  start HOST       power on again: same state, same address, same daemons
  cut HOST         pulls the network cable;   heal HOST plugs it in again
NAME is "dev" unless given; clusters of different names do not see one another.`;

interface Options {
  readonly name: string;
  readonly bare: boolean;
}

type Command = (options: Options, args: readonly string[]) => Promise<number>;

const commands: Readonly<Record<string, Command>> = {
  async up({ name, bare }) {
    const cluster = await TestCluster.create({ name, hosts: defaultHosts, keep: true });
    if (!bare) {
      const registry = await startRegistry(cluster.host("reg"));
      console.log(
        `images: ${Object.values(registry.images)
          .map((image) => image.reference)
          .join(" ")}`,
      );
      await new Swarm(cluster).start();
    }
    const run = name === "dev" ? "npm run cluster --" : `npm run cluster -- --name ${name}`;
    console.log(
      `cluster "${name}" is up: ${cluster
        .hosts()
        .map((h) => `${h.name}=${h.address}`)
        .join(" ")}`,
    );
    console.log(`logs: ${cluster.folder}/HOST.DAEMON.log`);
    console.log(`try:  ${run} exec m1 swarmctl node ls`);
    console.log(`end:  ${run} down`);
    return 0;
  },
  async down({ name }) {
    if (!(await TestCluster.remove(name))) throw new SwarmError("NotFound", `no cluster "${name}"`);
    return 0;
  },
  async status() {
    for (const { name } of listClusters()) {
      const cluster = TestCluster.open(name);
      for (const host of cluster.hosts())
        console.log(`${name}\t${host.name}\t${host.address}\t${host.up ? "up" : "down"}`);
    }
    return 0;
  },
  async exec({ name }, [host, ...command]) {
    const words = command.length > 0 ? command : [process.env["SHELL"] ?? "sh"];
    const child = await hostOf(name, host).spawn(withTools(words), { stdio: "inherit" });
    return child.exited;
  },
  async kill({ name }, [host]) {
    await hostOf(name, host).kill();
    return 0;
  },
  async start({ name }, [host]) {
    const cluster = TestCluster.open(name);
    const target = hostOf(name, host);
    const wasNode = existsSync(join(target.stateFolder, "certificates"));
    if (wasNode && roleOf(target)) await new Swarm(cluster).restart(target);
    else await target.start();
    if (existsSync(join(target.stateFolder, "registry.yml"))) await startRegistry(target);
    return 0;
  },
  async cut({ name }, [host]) {
    await hostOf(name, host).cut();
    return 0;
  },
  async heal({ name }, [host]) {
    await hostOf(name, host).heal();
    return 0;
  },
};

function hostOf(name: string, host: string | undefined) {
  if (host === undefined) throw new SwarmError("InvalidArgument", `which host?\n${usage}`);
  return TestCluster.open(name).host(host);
}

/** In hosts, `swarmctl` means this working tree's. */
function withTools([program = "", ...args]: readonly string[]): readonly string[] {
  if (program !== "swarmctl") return [program, ...args];
  return [process.execPath, join(repositoryRoot, "services/swarmctl/main.ts"), ...args];
}

/** Options stand before the command, so that those of a command for a host stay its own. */
function parse(argv: readonly string[]): { options: Options; verb: string; args: readonly string[] } {
  const at = argv.findIndex((word, i) => !word.startsWith("-") && argv[i - 1] !== "--name");
  const verb = argv[at];
  if (verb === undefined || !(verb in commands)) throw new SwarmError("InvalidArgument", usage);
  const rest = argv.slice(at + 1);
  const own = verb === "exec" ? argv.slice(0, at) : [...argv.slice(0, at), ...rest];
  const { values, positionals } = parseArgs({
    args: own,
    options: { name: { type: "string", default: "dev" }, bare: { type: "boolean", default: false } },
    allowPositionals: true,
  });
  return { options: values, verb, args: verb === "exec" ? rest : positionals };
}

try {
  const { options, verb, args } = parse(process.argv.slice(2));
  process.exitCode = await commands[verb]!(options, args);
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
