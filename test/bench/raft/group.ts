import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { TestCa } from "@starling/raft-node/testing";
import type { Load } from "./latency.ts";
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

/** What the delays of a member's event loop were during something, in milliseconds. */
export interface Delays {
  readonly p99: number;
  readonly max: number;
}

class Member {
  readonly config: MemberConfig;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(config: MemberConfig) {
    this.config = config;
    const program = join(import.meta.dirname, "member.ts");
    this.#child = spawn(process.execPath, ["--no-warnings", program, JSON.stringify(config)], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const lines: Interface = createInterface({ input: this.#child.stdout! });
    this.#lines = lines[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`raft bench: member ${this.config.nodeId} has ended`);
    return value;
  }

  async ask(command: string): Promise<string> {
    this.#child.stdin!.write(`${command}\n`);
    return await this.line();
  }

  async delays(command: string): Promise<Delays> {
    const [p99, max] = (await this.ask(command)).split(" ").map(Number) as [number, number];
    return { p99, max };
  }

  async end(): Promise<void> {
    const exited = new Promise((resolve) => this.#child.once("exit", resolve));
    if (this.#child.exitCode === null && this.#child.kill("SIGKILL")) await exited;
  }
}

/** Members, processes of their own, over TLS, with their logs below `parent`. */
export class BenchGroup implements AsyncDisposable {
  readonly #members: Member[] = [];
  readonly #dir: string;
  readonly #ca: TestCa;
  readonly #rest: Pick<MemberConfig, "machine" | "syncDelayMs">;

  private constructor(dir: string, ca: TestCa, rest: Pick<MemberConfig, "machine" | "syncDelayMs">) {
    this.#dir = dir;
    this.#ca = ca;
    this.#rest = rest;
  }

  /** `count` members that vote; the first leads. */
  static async start(
    parent: string,
    count: number,
    rest: Pick<MemberConfig, "machine" | "syncDelayMs">,
  ): Promise<BenchGroup> {
    await mkdir(parent, { recursive: true });
    const group = new BenchGroup(await mkdtemp(join(parent, "raft-")), await TestCa.create(), rest);
    try {
      for (let i = 0; i < count; i++) await group.add();
      await group.#allVote();
      return group;
    } catch (thrown) {
      await group[Symbol.asyncDispose]();
      throw thrown;
    }
  }

  /** Joins one more. */
  async add(): Promise<Member> {
    const nodeId = `n${this.#members.length + 1}`;
    const [port] = await freePorts(1);
    const pem = await this.#ca.issue(nodeId);
    const at = (what: string) => join(this.#dir, `${nodeId}.${what}`);
    for (const what of ["ca", "cert", "key"] as const) await writeFile(at(what), pem[what]);
    const remote = this.#members[0]?.config.addr;
    const member = new Member({
      nodeId,
      stateDir: at("state"),
      addr: `127.0.0.1:${port}`,
      ...{ ca: at("ca"), cert: at("cert"), key: at("key") },
      ...(remote === undefined ? {} : { remote }),
      ...this.#rest,
    });
    this.#members.push(member);
    await member.line();
    return member;
  }

  get first(): Member {
    return this.#members[0]!;
  }

  /** Changes of 1 KB with so many callers at once in the first member, which leads, for `ms`: "load" proposes, "write" stores. */
  async load(callers: number, ms: number, what: "load" | "write" = "load"): Promise<Load & { readonly loop: Delays }> {
    const answer = (await this.first.ask(`${what} ${callers} ${ms}`)).split(" ").map(Number);
    const [rate, p50, p99, loopP99, loopMax] = answer as [number, number, number, number, number];
    return { rate, p50, p99, loop: { p99: loopP99, max: loopMax } };
  }

  /** Kills the leader and starts it again. Milliseconds from the kill to the next accepted write. */
  async killLeader(): Promise<number> {
    let at = -1;
    // Where it was just elected, or a busy machine made it change, nobody may lead for a moment.
    while (at < 0) at = (await Promise.all(this.#members.map((member) => member.ask("leads")))).indexOf("true");
    const leader = this.#members[at]!;
    const rest = this.#members.filter((member) => member !== leader);
    const started = performance.now();
    const ended = leader.end();
    let took = Number.NaN;
    const answers = rest.map(async (member) => {
      if ((await member.ask(`take-over ${leader.config.addr}`)) === "wrote") took = performance.now() - started;
    });
    await Promise.all(answers);
    await ended;
    const again = new Member(leader.config);
    this.#members[at] = again;
    await again.line();
    await this.#allVote();
    return took;
  }

  /** Each member knows that all vote: one that does not could not take over from a leader that dies now. */
  async #allVote(): Promise<void> {
    for (const member of this.#members) await member.ask(`voters ${this.#members.length}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#members.map((member) => member.end()));
    await rm(this.#dir, { recursive: true, force: true });
  }
}
