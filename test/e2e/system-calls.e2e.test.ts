import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defaultSeccompProgram } from "@starling/node-agent";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Contained } from "../../native/shim/contained.fixture.ts";
import { tablesOf } from "../../node-agent/src/container/seccomp/system-calls.ts";
import { mustExec, TestCluster } from "../cluster/index.ts";
import { DockerEngine } from "./docker-engine.ts";

/**
 * Every system call, and those arguments that filters look at, under our default filter and under that of a real Docker Engine:
 * system-calls.c asks both, and no call happens. Equal but for what stands below with its reason.
 */
const dockerDefaults =
  "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE";

/** Docker's command line for a set of capabilities, and the set. */
interface CapabilitySet {
  readonly name: string;
  readonly docker: readonly string[];
  readonly capabilities: readonly string[];
}
/** Those by which Docker's profile decides; the engine of the test knows neither BPF nor PERFMON. */
const deciding =
  "DAC_READ_SEARCH SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_TIME SYS_TTY_CONFIG SYSLOG";
const sets: readonly CapabilitySet[] = [
  { name: "none", docker: ["--cap-drop=ALL"], capabilities: [] },
  { name: "Docker's default", docker: [], capabilities: dockerDefaults.split(" ") },
  ...deciding.split(" ").map((name) => ({
    name,
    docker: ["--cap-drop=ALL", `--cap-add=${name}`],
    capabilities: [name],
  })),
];

const EPERM = 1;
const ENOSYS = 38;
const refused = `errno ${EPERM}`;

/** What each filter says to one question ("native socket 0x1"). */
type Answers = ReadonlyMap<string, string>;

let folder: string;
let cluster: TestCluster;
let engine: DockerEngine;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "starling-system-calls-"));
  mkdirSync(join(folder, "rootfs"));
  const source = join(import.meta.dirname, "system-calls.c");
  await mustExec(["gcc", "-static", "-O1", "-Wall", "-Wextra", "-o", join(folder, "rootfs/ask"), source]);
  cluster = await TestCluster.create({ name: `system-calls-${process.pid}`, hosts: ["d1"] });
  engine = await DockerEngine.start(cluster.host("d1"));
  mkdirSync(join(engine.host.stateFolder, "image"));
  copyFileSync(join(folder, "rootfs/ask"), join(engine.host.stateFolder, "image/ask"));
  const archive = join(engine.host.stateFolder, "image.tar");
  await mustExec(["tar", "-C", join(engine.host.stateFolder, "image"), "-cf", archive, "ask"]);
  await engine.docker(["import", "/var/lib/swarmd/image.tar", "ask"]);
});
afterAll(async () => {
  await cluster?.destroy();
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
});

/** Tables of names: the machine's own, and that of 32-bit programs. */
const tables = Object.values(tablesOf(process.arch));

function nameOf(abi: string, number: number): string {
  const table = abi === "native" ? tables[0] : abi === "i386" ? tables[1] : undefined;
  return [...(table?.numbers ?? [])].find(([, n]) => n === number)?.[0] ?? String(number);
}

function answersIn(output: string): Answers {
  const lines = output.split("\n").filter((line) => line !== "");
  return new Map(
    lines.map((line) => {
      const [, abi = "", number = "", argument = "", answer = ""] =
        /^(\w+) (\d+)( 0x[0-9a-f]+)? (.*)$/.exec(line) ?? [];
      return [`${abi} ${nameOf(abi, Number(number))}${argument}`, answer] as const;
    }),
  );
}

async function byDocker(set: CapabilitySet): Promise<Answers> {
  return answersIn(await engine.docker(["run", "--rm", "--network=host", ...set.docker, "ask", "/ask"]));
}

async function byOurs(set: CapabilitySet): Promise<Answers> {
  const capabilities = set.capabilities.map((name) => `CAP_${name}`);
  const seccompProgram = defaultSeccompProgram({ architecture: process.arch, capabilities });
  const process_ = { capabilities, seccompProgram, noNewPrivileges: false };
  return answersIn(await Contained.output(join(folder, "rootfs"), { run: ["/ask"], process: process_ }));
}

/** What Docker's profile has changed since Debian's engine (20.10), and so ours says otherwise. Calls by name, on every ABI. */
const changes: readonly { readonly why: string; readonly calls: string; readonly ours: readonly string[] }[] = [
  {
    why: "let through since, the newer ones also since the kernel has them",
    calls:
      "cachestat fchmodat2 futex_requeue futex_wait futex_wake getxattrat listmount listxattrat map_shadow_stack mseal " +
      "name_to_handle_at pkey_alloc pkey_free pkey_mprotect process_vm_readv process_vm_writev removexattrat setxattrat statmount",
    ours: ["let-through"],
  },
  {
    why: "a way to much of the kernel: refused since",
    calls: "io_uring_enter io_uring_register io_uring_setup",
    ours: [refused],
  },
  {
    why: "named since, each with its capability; to the older engine newer than all it names, hence ENOSYS",
    calls: "lsm_get_self_attr lsm_list_modules lsm_set_self_attr set_mempolicy_home_node",
    ours: [refused, "let-through"],
  },
  { why: "forgotten beside clock_settime, with CAP_SYS_TIME", calls: "clock_settime64", ours: ["let-through"] },
];

/** Families of sockets that Docker has refused since: removed from kernels, AF_ALG, AF_VSOCK, and numbers that are none. */
const families = [12, 19, 20, 23, 25, 34, 37, 38, 40, 46, 47, 48, 49];

/** Why ours may say `answer` to a question where the engine says something else; undefined: it may not. */
function reasonFor(question: string, answer: string | undefined): string | undefined {
  const [abi = "", call = "", argument] = question.split(" ");
  if (call === "socket") {
    const isListed = argument !== undefined && families.includes(Number(argument)) && answer === refused;
    return isListed ? "a family that is refused since" : undefined;
  }
  // Kernels without this ABI, as nearly all are, answer so themselves; its numbers would be a second door to every call.
  if (abi === "x32" && answer === `errno ${ENOSYS}`) return "no x32";
  return changes.find(({ calls, ours }) => calls.split(" ").includes(call) && ours.includes(answer ?? ""))?.why;
}

describe("the default filter of system calls", () => {
  it("asked without a filter, all calls are let through", async () => {
    const unfiltered = { run: ["/ask"], process: { seccomp: false } };
    const answers = answersIn(await Contained.output(join(folder, "rootfs"), unfiltered));
    const others = [...answers].filter(([, answer]) => answer !== "let-through").map(([question]) => question);
    // The kernel answers those of probes before any filter: uretprobe, and uprobe behind it.
    expect(others.filter((question) => !["native uretprobe", "native 336"].includes(question))).toEqual([]);
    expect(answers.size).toBeGreaterThan(600);
  });

  it.each(sets)("is Docker's for capabilities: $name", async (set) => {
    const [docker, ours] = await Promise.all([byDocker(set), byOurs(set)]);
    expect([...ours.keys()]).toEqual([...docker.keys()]);
    const different = [...docker].filter(([question, answer]) => ours.get(question) !== answer);
    const unexplained = different.filter(([question]) => reasonFor(question, ours.get(question)) === undefined);
    expect(
      unexplained.map(([question, answer]) => `${question}: Docker ${answer}, ours ${ours.get(question)}`),
    ).toEqual([]);
    // Both refuse much and let most through: neither was off.
    for (const answers of [docker, ours]) {
      const count = (wanted: string) =>
        [...answers].filter(([q, answer]) => q.startsWith("native ") && answer === wanted).length;
      expect(count(refused)).toBeGreaterThan(30);
      expect(count("let-through")).toBeGreaterThan(200);
    }
  });
});
