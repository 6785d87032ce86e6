import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

/**
 * Network namespaces for tests: `hosts` on a switch (192.168.77.1 and fd77::1, .2, …) and a client behind a router (172.31.9.2, fd31::2).
 * Everything made has a name that starts with one prefix, and goes with `destroy`.
 */
export class TestHosts {
  readonly #prefix = `sn${process.pid.toString(36)}-`;
  readonly #namespaces: string[] = [];
  readonly #children: ChildProcess[] = [];
  readonly #captures: string[] = [];
  /** Shell command that enters the group. */
  readonly #join: string;

  /** With `cgroup`, a folder of cgroup v2, what `run` and `start` start is in that group. */
  constructor(hosts: number, cgroup?: string) {
    this.#join = cgroup === undefined ? "" : `echo 0 > ${cgroup}/cgroup.procs; `;
    const router = this.add("router");
    ip("-n", router, "link", "add", "br0", "type", "bridge");
    ip("-n", router, "addr", "add", "192.168.77.254/24", "dev", "br0");
    ip("-n", router, "addr", "add", "fd77::fe/64", "dev", "br0", "nodad");
    ip("-n", router, "link", "set", "br0", "up");
    for (let i = 1; i <= hosts; i++) {
      const host = this.add(`h${i}`);
      ip("-n", router, "link", "add", `p${i}`, "type", "veth", "peer", "name", "eth0", "netns", host);
      ip("-n", router, "link", "set", `p${i}`, "master", "br0", "up");
      ip("-n", host, "addr", "add", `192.168.77.${i}/24`, "dev", "eth0");
      ip("-n", host, "addr", "add", `fd77::${i}/64`, "dev", "eth0", "nodad");
      ip("-n", host, "link", "set", "eth0", "up");
      ip("-n", host, "route", "add", "default", "via", "192.168.77.254");
      ip("-n", host, "route", "add", "default", "via", "fd77::fe");
    }
    const client = this.add("client");
    ip("-n", router, "link", "add", "c0", "type", "veth", "peer", "name", "eth0", "netns", client);
    ip("-n", router, "addr", "add", "172.31.9.1/24", "dev", "c0");
    ip("-n", router, "addr", "add", "fd31::1/64", "dev", "c0", "nodad");
    ip("-n", router, "link", "set", "c0", "up");
    ip("-n", client, "addr", "add", "172.31.9.2/24", "dev", "eth0");
    ip("-n", client, "addr", "add", "fd31::2/64", "dev", "eth0", "nodad");
    ip("-n", client, "link", "set", "eth0", "up");
    ip("-n", client, "route", "add", "default", "via", "172.31.9.1");
    ip("-n", client, "route", "add", "default", "via", "fd31::1");
    this.run("router", "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
  }

  /** A new namespace, such as a container's. Returns its full name. */
  add(name: string): string {
    const full = this.#prefix + name;
    ip("netns", "add", full);
    this.#namespaces.push(full);
    ip("-n", full, "link", "set", "lo", "up");
    return full;
  }

  path(name: string): string {
    return `/run/netns/${this.#prefix}${name}`;
  }

  /** Output of a shell command in the namespace, `outside` the group; throws when it fails. */
  run(name: string, command: string, options: { readonly outside: boolean } = { outside: false }): string {
    const join = options.outside ? "" : this.#join;
    return execFileSync("nsenter", [`--net=${this.path(name)}`, "bash", "-c", join + command], {
      encoding: "utf8",
      timeout: 20_000,
    });
  }

  /** Starts a server on TCP (IPv4 and IPv6) and UDP `port` that answers with `name` and the asker's address, and waits until it listens. */
  async serve(namespace: string, port: number, name = namespace): Promise<void> {
    const child = spawn("nsenter", [`--net=${this.path(namespace)}`, process.execPath, "-e", server(port, name)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#children.push(child);
    await once(child.stdout!, "data");
  }

  /** What a server answers to a TCP connection from `namespace` (from its address `from`): `name address`. */
  ask(namespace: string, address: string, port: number, from?: string): string {
    if (from !== undefined) {
      return this.run(
        namespace,
        `curl -s --http0.9 -m 3 --interface ${from} http://${address}:${port}/ || true`,
      ).trim();
    }
    return this.run(namespace, `exec 3<>/dev/tcp/${address}/${port}; timeout 3 cat <&3`).trim();
  }

  /** Who answers datagrams from each of `sources`, ports of one client socket each; undefined for those unanswered. */
  askDatagrams(
    namespace: string,
    address: string,
    port: number,
    sources: readonly number[],
  ): readonly (string | undefined)[] {
    const script = `
      const answers = ${JSON.stringify(sources)}.map((source) => new Promise((resolve) => {
        const socket = require("dgram").createSocket(${JSON.stringify(address.includes(":") ? "udp6" : "udp4")});
        socket.on("message", (message, from) => resolve(from.address === "${address}" ? String(message).split(" ")[0] : null));
        socket.bind(source, () => socket.send("?", ${port}, "${address}"));
        setTimeout(resolve, 5_000).unref();
      }));
      Promise.all(answers).then((all) => { console.log(JSON.stringify(all.map((a) => a ?? null))); process.exit(); });`;
    const command = `nsenter --net=${this.path(namespace)} ${process.execPath} -e`;
    const [program, ...args] = command.split(" ");
    const output = execFileSync(program!, [...args, script], { encoding: "utf8", timeout: 20_000 });
    return (JSON.parse(output) as (string | null)[]).map((answer) => answer ?? undefined);
  }

  destroy(): void {
    for (const child of this.#children) child.kill("SIGKILL");
    for (const file of this.#captures) rmSync(file, { force: true });
    for (const name of this.#namespaces) {
      // wireguard-go takes the socket that it made below /run along.
      for (const pid of this.processes(name)) process.kill(pid, isWireGuard(pid) ? "SIGTERM" : "SIGKILL");
      ip("netns", "del", name);
    }
  }

  /** Ids of the processes in a namespace of that full name. */
  processes(full: string): readonly number[] {
    const pids = execFileSync("ip", ["netns", "pids", full], { encoding: "utf8" });
    return pids.split("\n").flatMap((pid) => (pid === "" ? [] : Number(pid)));
  }

  /** Starts Node in the namespace; call what it returns to end its input and get its output. */
  start(namespace: string, [, ...args]: readonly [node: "node", ...string[]]): () => Promise<string> {
    const enter = ["bash", "-c", `${this.#join}exec "$0" "$@"`, process.execPath];
    const child = spawn("nsenter", [`--net=${this.path(namespace)}`, ...enter, ...args], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#children.push(child);
    let output = "";
    child.stdout!.on("data", (data) => {
      output += data;
    });
    return async () => {
      child.stdin!.end();
      await once(child, "close");
      return output.trim();
    };
  }

  /** Everything that passes `eth0` of the namespace, or any device, from now on. Call what it returns to end that and get the bytes. */
  async capture(namespace: string, device: "eth0" | "any" = "eth0"): Promise<() => Promise<Buffer>> {
    const file = join(tmpdir(), `${this.#prefix}${namespace}-${this.#children.length}.pcap`);
    this.#captures.push(file);
    const args = [
      `--net=${this.path(namespace)}`,
      "tcpdump",
      "-i",
      device,
      "--immediate-mode",
      "-p",
      "-U",
      "-s0",
      "-Z",
      "root",
      "-w",
      file,
    ];
    const child = spawn("nsenter", args, { stdio: ["ignore", "ignore", "pipe"] });
    this.#children.push(child);
    await once(child.stderr!, "data");
    return async () => {
      // What tcpdump has not read when it is told to end is lost: so not before it has seen a last packet.
      const [address = ""] = this.run(namespace, "ip -4 -o addr show eth0 | grep -o '192[.][0-9.]*'").split("\n");
      this.run("router", `ping -c1 -W2 -p ${Buffer.from(lastPacket).toString("hex")} ${address}`);
      while (!readFileSync(file).includes(lastPacket)) await new Promise((resolve) => setTimeout(resolve, 5));
      child.kill("SIGINT");
      await once(child, "exit");
      return readFileSync(file);
    };
  }

  /** IPv4 addresses (with "ahostsv6" IPv6 ones) of `name` for a process of the namespace, by the C library and our name server; sorted, empty when unknown. */
  async resolve(namespace: string, name: string, database = "ahostsv4"): Promise<readonly string[]> {
    const file = join(tmpdir(), `${this.#prefix}resolv.conf`);
    writeFileSync(file, "nameserver 127.0.0.11\noptions ndots:0 timeout:1 attempts:1\n");
    const command = `mount --bind ${file} /etc/resolv.conf && getent ${database} ${name} || true`;
    const { stdout } = await promisify(execFile)("unshare", [
      "-m",
      "nsenter",
      `--net=${this.path(namespace)}`,
      "bash",
      "-c",
      command,
    ]);
    rmSync(file);
    const addresses = [...stdout.matchAll(/^(\S+)\s+STREAM/gm)].map(([, address]) => address!);
    return addresses.sort();
  }
}

/** Folder of a new group in cgroup v2, in that of this process; whoever gets it removes it. */
export function makeCgroup(): string {
  const mount = /^\S+ (\S+) cgroup2 /m.exec(readFileSync("/proc/mounts", "utf8"))?.[1] ?? "";
  const own = /^0::(.*)$/m.exec(readFileSync("/proc/self/cgroup", "utf8"))?.[1] ?? "/";
  const folder = join(mount, own, `starling-vip-${process.pid}`);
  mkdirSync(folder);
  return folder;
}

const lastPacket = "LAST-PACKET";

function server(port: number, name: string): string {
  return `
    const tcp = require("net").createServer((s) => { s.on("error", () => {}); s.end("${name} " + s.remoteAddress.replace("::ffff:", "") + "\\n"); });
    tcp.listen(${port}, "::", () => {
      const types = ["udp4", "udp6"];
      for (const type of types) {
        const udp = require("dgram").createSocket({ type, ipv6Only: type === "udp6" });
        udp.on("message", (m, r) => udp.send("${name} " + r.address + "\\n", r.port, r.address));
        udp.bind(${port}, () => type === "udp6" && console.log("ready"));
      }
    });`;
}

function ip(...args: string[]): void {
  execFileSync("ip", args, { stdio: ["ignore", "ignore", "inherit"] });
}

function isWireGuard(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").startsWith("wireguard-go");
  } catch {
    // It has ended since.
    return false;
  }
}
