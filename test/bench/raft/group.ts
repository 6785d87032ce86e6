import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { TestCa } from "@starling/raft-node/testing";
import type { MemberConfig } from "./member.ts";

/** Free ports of the loopback; another program may take one before it is used. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const server = createServer();
      return new Promise<typeof server>((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
    }),
  );
  const ports = servers.map((server) => (server.address() as { readonly port: number }).port);
  for (const server of servers) server.close();
  return ports;
}

class Member {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(config: MemberConfig) {
    const program = join(import.meta.dirname, "member.ts");
    this.#child = spawn(process.execPath, ["--no-warnings", program, JSON.stringify(config)], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const lines: Interface = createInterface({ input: this.#child.stdout! });
    this.#lines = lines[Symbol.asyncIterator]();
  }

  async line(what: string): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done || !value.startsWith(what)) throw new Error(`raft bench: a member said ${value} instead of ${what}`);
    return value;
  }

  async load(callers: number, ms: number): Promise<number> {
    this.#child.stdin!.write(`load ${callers} ${ms}\n`);
    return Number((await this.line("rate")).split(" ")[1]);
  }

  async end(): Promise<void> {
    const exited = new Promise((resolve) => this.#child.once("exit", resolve));
    if (this.#child.exitCode === null && this.#child.kill("SIGKILL")) await exited;
  }
}

/** Three members, processes of their own, over TLS, with their logs below `parent`. The first leads. */
export class BenchGroup implements AsyncDisposable {
  readonly #members: Member[] = [];
  readonly #dir: string;

  private constructor(dir: string) {
    this.#dir = dir;
  }

  static async start(parent: string): Promise<BenchGroup> {
    await mkdir(parent, { recursive: true });
    const group = new BenchGroup(await mkdtemp(join(parent, "raft-")));
    try {
      const ca = await TestCa.create();
      const ports = await freePorts(3);
      for (const [i, port] of ports.entries()) {
        const nodeId = `n${i + 1}`;
        const pem = await ca.issue(nodeId);
        const at = (what: string) => join(group.#dir, `${nodeId}.${what}`);
        for (const what of ["ca", "cert", "key"] as const) await writeFile(at(what), pem[what]);
        const remote = i === 0 ? {} : { remote: `127.0.0.1:${ports[0]}` };
        const files = { ca: at("ca"), cert: at("cert"), key: at("key") };
        const member = new Member({ nodeId, stateDir: at("state"), addr: `127.0.0.1:${port}`, ...files, ...remote });
        group.#members.push(member);
        await member.line("ready");
      }
      return group;
    } catch (thrown) {
      await group[Symbol.asyncDispose]();
      throw thrown;
    }
  }

  /** Proposals of 1 KB per second with so many callers at once, for `ms`. */
  load(callers: number, ms: number): Promise<number> {
    return this.#members[0]!.load(callers, ms);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#members.map((member) => member.end()));
    await rm(this.#dir, { recursive: true, force: true });
  }
}
