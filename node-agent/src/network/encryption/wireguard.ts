import { type ChildProcess, spawn } from "node:child_process";
import { connect } from "node:net";
import type { Millis } from "@starling/base";
import { decodeLinks, decodeReplies, type Request, rtnetlink, runSteps } from "@starling/native/net";
import { converse, writeSysctls } from "../host-applier.ts";
import { formatSince, parseDump, parseSince, type TunnelState } from "./plan-tunnel.ts";

/** Encryption can't be had on this host, whatever is tried again: something is not installed. */
export class NoEncryption extends Error {
  override readonly name = "NoEncryption";
}

/** What keeps WireGuard devices. `encryption.ts` decides, this acts. */
export interface WireGuard {
  /** The device as it is; undefined: there is none. */
  show(device: string): Promise<TunnelState | undefined>;
  /** Makes the device, up but with nothing set. Throws NoEncryption when the host has no WireGuard of any kind. */
  create(device: string): Promise<void>;
  /** `wg set DEVICE …`. */
  set(device: string, args: readonly string[]): Promise<void>;
  /** The device's own key, since when that is used, and UDP port; the key touches neither a file nor a command line. */
  setKey(device: string, key: DeviceKey): Promise<void>;
  /** Ends the device, and with it the process that serves it. One that is not there is no error. */
  remove(device: string): Promise<void>;
  /** Calls `onGone` once when the device ends by itself. Returns what ends the watching. */
  watch(device: string, onGone: () => void): () => void;
}

/** What a device is given to be itself. */
export interface DeviceKey {
  readonly privateKey: string;
  readonly port: number;
  readonly since: Millis;
}

const notSupported = 95;
const noSuchDevice = 19;
const commandTimeoutMs = 10_000;
/** Peers per call: the kernel bounds the size of arguments. */
const wordsMax = 4_000;

/**
 * The kernel's WireGuard where it has it, else Debian's wireguard-go: a process of its own that outlives this one and ends
 * with its device. Both are set up by Debian's `wg`. `netns` is the host's network namespace; undefined: the process's own.
 */
export function hostWireGuard(netns: string | undefined): WireGuard {
  const run = (command: string, args: readonly string[], input?: string) => execute(netns, command, args, input);
  return {
    async show(device) {
      const requests = [rtnetlink.getLinks(device)];
      const step = { type: "netlink", protocol: rtnetlink.routeProtocol, requests } as const;
      const [{ answers, replies }] = await runSteps(netns, [step]);
      if (answers.some(({ error }) => error === noSuchDevice)) return undefined;
      const [link] = decodeLinks(decodeReplies(replies));
      return { ...parseDump(await run("wg", ["show", device, "dump"])), since: parseSince(link?.alias ?? "") };
    },
    async create(device) {
      if (!(await createInKernel(netns, rtnetlink.createWireGuard({ name: device }))))
        await run("wireguard-go", [device]);
      const ipv6 = (file: string, value: string) => ({ path: `net/ipv6/conf/${device}/${file}`, value });
      // The inner addresses are IPv6, whatever the host's default; and it has no others.
      await writeSysctls([ipv6("addr_gen_mode", "1"), ipv6("disable_ipv6", "0")], netns);
      await converse([rtnetlink.setLink({ name: device, up: true })], netns);
    },
    async set(device, args) {
      for (const words of chunks(args)) await run("wg", ["set", device, ...words]);
    },
    async setKey(device, { privateKey, port, since }) {
      // wg opens a file for the key; what Node gives a child to read from can't be opened by name, a pipe can.
      const words = [device, "listen-port", `${port}`, "private-key", "/proc/self/fd/0"];
      await run("sh", ["-c", 'cat | wg set "$@"', "sh", ...words], privateKey);
      await converse([rtnetlink.setLink({ name: device, alias: formatSince(since) })], netns);
    },
    remove: (device) => converse([rtnetlink.deleteLink(device)], netns),
    watch(device, onGone) {
      // wireguard-go takes its orders here; the kernel's devices have no such socket and don't end by themselves.
      const socket = connect(`/run/wireguard/${device}.sock`);
      let connected = false;
      socket.on("connect", () => {
        connected = true;
      });
      socket.on("error", () => {}); // "close" follows.
      socket.on("close", () => {
        if (connected) onGone();
      });
      socket.unref();
      return () => {
        socket.removeAllListeners("close");
        socket.destroy();
      };
    },
  };
}

/** Whether the kernel made the device; false: it has no WireGuard. */
async function createInKernel(netns: string | undefined, request: Request): Promise<boolean> {
  const [{ answers }] = await runSteps(netns, [
    { type: "netlink", protocol: rtnetlink.routeProtocol, requests: [request] },
  ]);
  const { error = 0, explanation = "" } = answers[0] ?? {};
  if (error === notSupported) return false;
  if (error !== 0) throw new Error(`the kernel's WireGuard: errno ${error} ${explanation}`.trim());
  return true;
}

/** Splits before a word `peer`. */
function chunks(args: readonly string[]): readonly (readonly string[])[] {
  const found: string[][] = [];
  for (const word of args) {
    const last = found.at(-1);
    if (last === undefined || (word === "peer" && last.length >= wordsMax)) found.push([word]);
    else last.push(word);
  }
  return found;
}

const packages: Readonly<Record<string, string>> = { wg: "wireguard-tools", "wireguard-go": "wireguard-go" };

/** Runs a program in the host's namespace, in a session of its own; returns what it printed. */
async function execute(
  netns: string | undefined,
  command: string,
  args: readonly string[],
  input: string | undefined,
): Promise<string> {
  const words = netns === undefined ? [command, ...args] : ["nsenter", `--net=${netns}`, "--", command, ...args];
  // With a log level set, wireguard-go would keep our pipes open.
  const env = { ...process.env, LOG_LEVEL: "" };
  const child = spawn(words[0]!, words.slice(1), { cwd: "/", env, detached: true, stdio: ["pipe", "pipe", "pipe"] });
  const missing = `${command} is not installed: install Debian's package ${packages[command]}, or a kernel with WireGuard`;
  const { code, output, errors } = await collect(child, input ?? "").catch((error: NodeJS.ErrnoException) => {
    throw ["ENOENT", "EACCES"].includes(error.code ?? "") ? new NoEncryption(missing, { cause: error }) : error;
  });
  if ((code === 126 || code === 127) && netns !== undefined) throw new NoEncryption(missing);
  if (code === 0) return output;
  throw new Error(`${command} ${args.slice(0, 3).join(" ")}: ${lastLine(errors) || `exit status ${code}`}`);
}

async function collect(child: ChildProcess, input: string) {
  const texts = { output: "", errors: "" };
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (texts.output += text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (texts.errors += text));
  child.stdin?.on("error", () => {}); // It ended without reading: its exit status says why.
  child.stdin?.end(input);
  const timer = setTimeout(() => child.kill("SIGKILL"), commandTimeoutMs);
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", resolve);
    });
    return { code, ...texts };
  } finally {
    clearTimeout(timer);
  }
}

const lastLine = (text: string): string => text.trimEnd().split("\n").at(-1)?.trim() ?? "";
