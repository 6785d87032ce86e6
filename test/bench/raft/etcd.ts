import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import * as grpc from "@grpc/grpc-js";
import protobuf from "protobufjs/minimal.js";
import { freePorts } from "./group.ts";
import { type Load, runLoad } from "./latency.ts";

/** Is Debian's etcd there to compare with? */
export function hasEtcd(): boolean {
  try {
    execFileSync("etcd", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

const putPath = "/etcdserverpb.KV/Put";

/** etcdserverpb.PutRequest: key 1, value 2. */
function putRequest(key: string, value: Uint8Array): Buffer {
  return Buffer.from(protobuf.Writer.create().uint32(10).string(key).uint32(18).bytes(value).finish());
}

/** Three etcd members without TLS on the same disk, written to by puts of 1 KB over gRPC to the first. */
export class EtcdGroup implements AsyncDisposable {
  readonly #children: ChildProcess[] = [];
  readonly #dir: string;
  #clients: grpc.Client[] = [];

  private constructor(dir: string) {
    this.#dir = dir;
  }

  static async start(parent: string): Promise<EtcdGroup> {
    await mkdir(parent, { recursive: true });
    const group = new EtcdGroup(await mkdtemp(join(parent, "etcd-")));
    try {
      const ports = await freePorts(6);
      const peers = [0, 1, 2].map((i) => `http://127.0.0.1:${ports[i]}`);
      const cluster = peers.map((url, i) => `e${i}=${url}`).join(",");
      for (const [i, peer] of peers.entries()) {
        const client = `http://127.0.0.1:${ports[3 + i]}`;
        const urls = { "listen-peer-urls": peer, "initial-advertise-peer-urls": peer };
        const clients = { "listen-client-urls": client, "advertise-client-urls": client };
        const rest = { name: `e${i}`, "data-dir": join(group.#dir, `e${i}`), "initial-cluster": cluster };
        const flags = Object.entries({ ...urls, ...clients, ...rest }).map(([flag, value]) => `--${flag}=${value}`);
        group.#children.push(spawn("etcd", flags, { stdio: "ignore" }));
      }
      const options = { "grpc.use_local_subchannel_pool": 1 };
      group.#clients = ports
        .slice(3)
        .map((port) => new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), options));
      await group.#put("ready", Buffer.from("x"), 0, 15_000);
      return group;
    } catch (thrown) {
      await group[Symbol.asyncDispose]();
      throw thrown;
    }
  }

  #put(key: string, value: Uint8Array, client: number, timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#clients[client]!.makeUnaryRequest(
        putPath,
        (bytes: Buffer) => bytes,
        (bytes: Buffer) => bytes,
        putRequest(key, value),
        new grpc.Metadata({ waitForReady: true }),
        { deadline: Date.now() + timeoutMs },
        (error) => (error ? reject(error) : resolve()),
      );
    });
  }

  load(callers: number, ms: number): Promise<Load> {
    const value = Buffer.alloc(1_000);
    return runLoad(callers, ms, (caller, i) => this.#put(`${caller}-${i}`, value, 0, 10_000));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.close();
    for (const child of this.#children) {
      const exited = new Promise((resolve) => child.once("exit", resolve));
      if (child.exitCode === null && child.kill("SIGKILL")) await exited;
    }
    await rm(this.#dir, { recursive: true, force: true });
  }
}
