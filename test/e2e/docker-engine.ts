import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ExecOptions, type Host, until } from "../cluster/index.ts";

const daemon = "dockerd";
/** Debian's, whatever else the machine has in its PATH. */
const cli = "/usr/bin/docker";
/** Where swarm nodes listen, managers of both makes. */
const swarmPort = 4242;
const attemptsMax = 3;

/** Debian's dockerd on a host: a real Docker Engine with a state of its own, and Docker's command line to it. */
export class DockerEngine {
  readonly host: Host;

  private constructor(host: Host) {
    this.host = host;
  }

  /**
   * Starts dockerd and resolves when it answers. No bridge, no packet filter rules: containers use the host's network; unless
   * `bridge`, as it does when nothing is configured.
   */
  static async start(host: Host, { bridge = false } = {}): Promise<DockerEngine> {
    const engine = new DockerEngine(host);
    const folder = join(host.stateFolder, "docker");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "daemon.json"), JSON.stringify(settings("/var/lib/swarmd/docker", bridge)));
    const pid = await host.daemon(daemon, [join(import.meta.dirname, "docker-engine.sh"), "/var/lib/swarmd/docker"]);
    const answers = await until(
      `dockerd on ${host.name} answers or ends`,
      async () => {
        if ((await host.exec([cli, "version"], { timeoutMs: 10_000 })).code === 0) return { yes: true };
        return (await host.exec(["test", "-e", `/proc/${pid}`])).code !== 0 && { yes: false };
      },
      { timeoutMs: 60_000, periodMs: 200 },
    );
    if (!answers.yes) throw new Error(`dockerd on ${host.name} has ended:\n${engine.log()}`);
    return engine;
  }

  /**
   * What `docker …` prints; throws with its error when it fails. The client looks an object up and writes it with its version; when
   * the managers changed it between, it is refused, and said again here as its users would, a few times.
   */
  async docker(args: readonly string[], options: ExecOptions = {}): Promise<string> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.host.mustExec([cli, ...args], options);
      } catch (error) {
        if (attempt === attemptsMax || !String(error).includes("update out of sequence")) throw error;
      }
    }
  }

  /** The documents that `docker … --format '{{json .}}'` prints, one a line. */
  async rows<T>(args: readonly string[]): Promise<readonly T[]> {
    const text = await this.docker([...args, "--format", "{{json .}}"]);
    return text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as T);
  }

  /** Joins the swarm of a manager's host by a token. */
  async join(manager: Host, token: string): Promise<void> {
    await this.docker(["swarm", "join", "--token", token, ...this.#addresses, `${manager.address}:${swarmPort}`]);
  }

  /** Begins a swarm of its own, with heartbeats each second. */
  async init(): Promise<void> {
    await this.docker(["swarm", "init", "--dispatcher-heartbeat", "1s", ...this.#addresses]);
  }

  get #addresses(): readonly string[] {
    const own = `${this.host.address}:${swarmPort}`;
    return ["--listen-addr", own, "--advertise-addr", own];
  }

  /** What the engine has logged. */
  log(): string {
    return readFileSync(this.host.logFile(daemon), "utf8");
  }
}

function settings(folder: string, bridge: boolean): Readonly<Record<string, unknown>> {
  const network = { bridge: "none", iptables: false, "ip-forward": false, "ip-masq": false };
  return {
    hosts: ["unix:///run/docker.sock"],
    "data-root": `${folder}/data`,
    "exec-root": "/run/docker",
    pidfile: "/run/docker.pid",
    ...(bridge ? {} : network),
    "userland-proxy": false,
    "insecure-registries": ["10.99.0.0/24"],
  };
}
