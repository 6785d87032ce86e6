import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { defaultSeccompProgram } from "@starling/node-agent";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Bundle } from "../oci/bundle.fixture.ts";
import { attachToContainer, type ShimStream, startProgram } from "../shim-stream.ts";
import { Contained, type Wishes as ContainerWishes } from "./contained.fixture.ts";
import { buildUnboundedShim } from "./unbounded.fixture.ts";

/**
 * Known ways out of a container, or to hurt its host, tried on the shim, through which swarmd's containers run. Each is first
 * tried with its protection off, to show that the attempt itself is a good one; then with it on.
 */
let bundle: Bundle;
let rootfs: string;
beforeAll(() => {
  bundle = new Bundle();
  rootfs = join(bundle.folder, "rootfs");
  for (const name of ["mkfifo", "readlink", "rm", "mv", "dd", "yes", "head"])
    symlinkSync("busybox", join(rootfs, "bin", name));
  const source = join(import.meta.dirname, "../oci/attempt.fixture.c");
  execFileSync("gcc", ["-static", "-O1", "-o", join(rootfs, "bin/attempt"), source]);
});
afterAll(() => bundle?.remove());

/** The agent's default filter, for a container without capabilities. */
const seccompProgram = defaultSeccompProgram({ architecture: process.arch, capabilities: [] });

/** Under the default filter unless they say otherwise. */
type Wishes = Omit<ContainerWishes, "process"> & Partial<Pick<ContainerWishes, "process">>;
const filtered = (wishes: Wishes): ContainerWishes => ({ ...wishes, process: { seccompProgram, ...wishes.process } });

const output = (wishes: Wishes) => Contained.output(rootfs, filtered(wishes));

async function inside<T>(wishes: Wishes, use: (contained: Contained) => Promise<T>): Promise<T> {
  const contained = await Contained.start(rootfs, filtered(wishes));
  try {
    return await use(contained);
  } finally {
    await contained.end();
  }
}

/**
 * Kilobytes by which a shim's memory grows while `flood` makes it keep 48 MB for a stream that is not read: without its
 * bounds (the flood gets through to its end), and with them. Then `after`.
 */
async function growthKb(
  wishes: Wishes,
  flood: (contained: Contained, bounds: boolean) => Promise<ShimStream>,
  after: (stream: ShimStream) => Promise<void> = async () => {},
): Promise<{ readonly unbounded: number; readonly bounded: number }> {
  const grown = (bounds: boolean) =>
    inside(wishes, async (contained) => {
      const before = contained.shimMemoryKb();
      const stream = await flood(contained, bounds);
      const growth = contained.shimMemoryKb() - before;
      if (bounds) await after(stream);
      stream.close();
      return growth;
    });
  const tools = join(bundle.folder, "unbounded");
  buildUnboundedShim(tools);
  const usual = process.env["STARLING_NATIVE_TOOLS"];
  try {
    setTools(tools);
    const unbounded = await grown(false);
    setTools(usual);
    return { unbounded, bounded: await grown(true) };
  } finally {
    setTools(usual);
  }
}

function setTools(folder: string | undefined): void {
  if (folder === undefined) delete process.env["STARLING_NATIVE_TOOLS"];
  else process.env["STARLING_NATIVE_TOOLS"] = folder;
}

/** Waits for a file that the container makes, and removes it. */
async function made(name: string): Promise<void> {
  const file = join(rootfs, "tmp", name);
  while (!existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 5));
  rmSync(file);
}

/** Waits until a program in the container has been held up for a while by a pipe that is full. */
async function waitsForReader({ shim }: Contained): Promise<void> {
  for (let looks = 0; looks < 20; looks++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    const waits = (await shim.top()).map((pid) => readFileSync(`/proc/${pid}/wchan`, "utf8"));
    if (!waits.some((place) => place.includes("pipe_write"))) looks = 0;
  }
}

/** Waits until the container has said `word`. */
async function said(contained: Contained, word: string): Promise<void> {
  while (!contained.log().includes(word)) await new Promise((resolve) => setTimeout(resolve, 5));
}

describe("system calls", () => {
  it("ptrace of a host's process is the kernel's to refuse, or there is none to be seen", async () => {
    const shared: Wishes = { run: `attempt trace ${process.pid}`, spec: { hostNamespaces: ["pid"] } };
    // This process is no target of its own test: one that has all that root has.
    const victim = execFileSync("sh", ["-c", "sleep 1000 >/dev/null 2>&1 & echo $!"], { encoding: "utf8" }).trim();
    try {
      const able = { ...shared, run: `attempt trace ${victim}` };
      const all = readFileSync("/proc/self/status", "utf8").match(/^CapEff:\t([0-9a-f]+)$/m)?.[1] ?? "";
      expect(BigInt(`0x${all}`) & (1n << 19n)).not.toBe(0n);
      expect(await output({ ...able, process: { capabilities: ["CAP_SYS_PTRACE"] } })).toBe("done\n");
      expect(await output(able)).toBe("EPERM\n");
      // With a PID namespace of its own there is no number for it.
      expect(await output({ run: `ls -d /proc/${victim}`, process: { capabilities: ["CAP_SYS_PTRACE"] } })).toContain(
        "No such file",
      );
    } finally {
      process.kill(Number(victim), "SIGKILL");
    }
  });

  it("keys that the host's root keeps in the kernel are out of reach by the filter", async () => {
    const attempt = join(rootfs, "bin/attempt");
    const name = `starling-safety-${process.pid}`;
    expect(execFileSync(attempt, ["add-key", name], { encoding: "utf8" })).toBe("done\n");
    try {
      expect(await output({ run: `attempt find-key ${name}`, process: { seccomp: false } })).toBe("done\n");
      expect(await output({ run: `attempt find-key ${name}` })).toBe("EPERM\n");
    } finally {
      execFileSync(attempt, ["drop-key", name]);
    }
  });

  it("unshare and bpf are refused by the filter, also to programs that are started later", async () => {
    const run = ["/bin/sleep", "1000"];
    await inside({ run }, async ({ shim }) => {
      for (const what of ["unshare", "bpf"]) {
        const attempt = async (seccomp: boolean) =>
          (await shim.exec({ args: ["attempt", what], seccomp, seccompProgram, capabilities: ["CAP_SYS_ADMIN"] }))
            .output;
        expect(await attempt(false), what).toBe("done\n");
        expect(await attempt(true), what).toBe("EPERM\n");
      }
    });
  });
});

describe("the runtime's own program (CVE-2019-5736)", () => {
  it("is never to be seen by a container that stops and searches whatever is started in it", async () => {
    // Whoever appears is stopped at once, looked into, and let go.
    const hunt = `echo ready; for round in 1 2 3 4 5 6 7 8; do
      until [ -e /tmp/prey ]; do for p in /proc/[0-9]*; do p=\${p#/proc/}; [ $p = 1 ] && continue
        kill -STOP $p 2>/dev/null; readlink /proc/$p/exe >>/tmp/seen 2>/dev/null; ls -l /proc/$p/fd >>/tmp/fds 2>/dev/null
        kill -CONT $p 2>/dev/null; done; done; rm /tmp/prey; done; sleep 1000`;
    writeFileSync(join(rootfs, "tmp/seen"), "");
    writeFileSync(join(rootfs, "tmp/fds"), "");
    await inside({ run: hunt }, async (contained) => {
      await said(contained, "ready");
      for (let round = 0; round < 8; round++) {
        await contained.shim.exec({
          args: ["sh", "-c", "for i in 1 2 3 4 5; do true; sleep 0.01; done; echo > /tmp/prey"],
        });
      }
    });
    const seen = new Set(readFileSync(join(rootfs, "tmp/seen"), "utf8").split("\n"));
    const descriptors = readFileSync(join(rootfs, "tmp/fds"), "utf8");
    // The hunt catches something: the programs themselves, once they are the container's.
    expect([...seen].filter((path) => path.endsWith("/bin/busybox"))).toHaveLength(1);
    expect([...seen].filter((path) => path !== "" && !path.endsWith("/bin/busybox"))).toEqual([]);
    expect(descriptors).toMatch(/ -> pipe:/);
    expect(descriptors.split("\n").filter((line) => / -> \/(?!dev\/null|proc\/|tmp\/)/.test(line))).toEqual([]);
  });

  it("hands on nothing but three streams, and no working folder outside (CVE-2024-21626)", async () => {
    await inside({ run: ["/bin/sleep", "1000"] }, async ({ shim }) => {
      const list = async (args: readonly string[], cwd = "/") => (await shim.exec({ args, cwd })).output;
      // 3 is the listing's own.
      expect(await list(["ls", "/proc/self/fd"])).toBe("0\n1\n2\n3\n");
      for (let fd = 0; fd < 24; fd++) {
        const outcome = await list(["sh", "-c", "pwd; ls -d /proc/self/cwd/spec.json"], `/proc/self/fd/${fd}`).catch(
          String,
        );
        expect(outcome, `descriptor ${fd}`).toMatch(/^ShimError: (exec: )?(chdir|mkdir|getcwd)|^\/\n.*No such file/);
      }
    });
  });
});

describe("a hostile container", () => {
  it("cannot hold up whoever starts a program in it, by pipes in the place of its files", async () => {
    const trap = "mkfifo /etc/passwd /etc/group; rm /dev/null; mkfifo /dev/null; echo set; exec sleep 1000";
    try {
      await inside({ run: trap }, async (contained) => {
        await said(contained, "set");
        const { shim } = contained;
        // Who reads such a file as any other waits for ever.
        expect(await shim.exec({ args: ["cat", "/etc/passwd"] }, { timeoutMs: 300 })).toMatchObject({ timedOut: true });
        expect(await shim.exec({ args: ["echo", "here"] })).toMatchObject({ output: "here\n", exitCode: 0 });
        await expect(shim.exec({ args: ["id"], user: "web" })).rejects.toThrow("unable to find user web");
      });
    } finally {
      for (const name of ["passwd", "group"]) rmSync(join(rootfs, "etc", name), { force: true });
    }
  });

  it("cannot hold up the shim by stopping what is started in it", async () => {
    // The hunter is quicker than the program's last steps; it never lets go.
    const stop = `echo ready; while :; do for p in /proc/[0-9]*; do p=\${p#/proc/}; [ $p = 1 ] || kill -STOP $p; done; done 2>/dev/null`;
    await inside({ run: stop }, async (contained) => {
      await said(contained, "ready");
      // Stopped before its execve the start fails in its time; stopped after it the program is stopped. Both end.
      const outcome = await contained.shim.exec({ args: ["sleep", "1000"] }, { timeoutMs: 200 }).catch(String);
      if (typeof outcome === "string") expect(outcome).toContain("kept the program from starting");
      else expect(outcome.timedOut).toBe(true);
      expect((await contained.shim.state()).state).toBe("running");
      await contained.shim.kill();
      expect((await contained.shim.wait()).exitCode).toBe(137);
    });
  });

  it("cannot fill the host's disk by its log", async () => {
    const flood = "yes 0123456789012345678901234567890123456789012345678901234567890123 | head -c 6000000";
    const folder = join(bundle.folder, "logs");
    mkdirSync(folder);
    const size = async (maxBytes: number, maxFiles: number) => {
      const log = { path: join(folder, "log"), maxBytes, maxFiles };
      const contained = await Contained.start(rootfs, filtered({ run: flood, spec: { log } }));
      try {
        await contained.shim.wait().catch(() => {});
      } finally {
        await contained.end();
      }
      const files = readdirSync(folder).map((name) => join(folder, name));
      const sum = files.reduce((total, file) => total + statSync(file).size, 0);
      for (const file of files) rmSync(file);
      return sum;
    };
    expect(await size(1e9, 1)).toBeGreaterThan(6_000_000);
    // A line is written whole, so that a file may be longer than its bound by one write.
    expect(await size(100_000, 3)).toBeLessThan(3 * 200_000);
  });

  it("cannot fill the shim's memory through whoever looks on and does not read", async () => {
    // 48 MiB leave the container, which waits for nobody: what does not fit is missed by who does not look.
    const run = "until [ -e /tmp/go ]; do :; done; head -c 50331648 /dev/zero; : >/tmp/done; exec sleep 1000";
    const grown = await growthKb({ run, spec: { log: {} } }, async (contained) => {
      const stream = await attachToContainer(contained.folder);
      writeFileSync(join(rootfs, "tmp/go"), "");
      await made("done");
      rmSync(join(rootfs, "tmp/go"));
      return stream;
    });
    expect(grown.unbounded).toBeGreaterThan(40_000);
    expect(grown.bounded).toBeLessThan(2_048);
  });

  it("cannot fill the shim's memory by a program whose caller does not read", async () => {
    let read = 0;
    const grown = await growthKb(
      { run: ["/bin/sleep", "1000"] },
      async (contained, bounds) => {
        const script = "yes | head -c 50000000; : >/tmp/done; echo end >&2";
        const stream = await startProgram(contained.folder, { args: ["sh", "-c", script] });
        // Nobody reads: the program waits, the shim still answers.
        if (bounds) await waitsForReader(contained);
        else await made("done");
        expect((await contained.shim.state()).state).toBe("running");
        return stream;
      },
      async (stream) => {
        for await (const { data } of stream.output()) read += data.length;
        rmSync(join(rootfs, "tmp/done"));
      },
    );
    expect(grown.unbounded).toBeGreaterThan(40_000);
    expect(grown.bounded).toBeLessThan(2_048);
    // Read at last, all of it comes.
    expect(read).toBe(50_000_004);
  });

  it("cannot use more processes or memory than it may", async () => {
    const bomb = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 100 & done 2>/dev/null; set -- /proc/[0-9]*; echo $#";
    expect(await output({ run: bomb })).toBe("13\n");
    expect(
      Number((await output({ run: bomb, spec: { resources: { pids: 6 } } })).match(/\d+/)?.[0] ?? "0"),
    ).toBeLessThanOrEqual(6);
    const eat = "dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null; echo $?";
    expect(await output({ run: eat })).toBe("0\n");
    expect(await output({ run: eat, spec: { resources: { memoryBytes: 16 << 20 } } })).toBe("137\n");
  });
});

describe("links in a volume", () => {
  it("at /dev/null are not what hides files (CVE-2025-31133)", async () => {
    const volume = join(bundle.folder, "devices");
    mkdirSync(volume);
    writeFileSync(join(volume, "decoy"), "");
    symlinkSync("decoy", join(volume, "null"));
    const mounts = [{ type: "bind" as const, source: volume, target: "/dev" }];
    // What a runtime that goes by the name would bind is there; what hides the keys is not it.
    const run = "readlink /dev/null; stat -c '%F %t:%T' /proc/keys; grep -c decoy /proc/self/mountinfo";
    expect(await output({ run, spec: { mounts } })).toBe("decoy\ncharacter special file 1:3\n0\n");
    expect(await output({ run: "stat -c '%F' /proc/keys", spec: { mounts, maskedPaths: [] } })).toBe(
      "regular empty file\n",
    );
  });

  it("lead a mount nowhere but to other places inside, and never into /proc (CVE-2025-52881)", async () => {
    const volume = join(bundle.folder, "volume");
    mkdirSync(join(volume, "plain"), { recursive: true });
    const mounts = (target: string) => [
      { type: "bind" as const, source: volume, target: "/data" },
      { type: "tmpfs" as const, target },
    ];
    symlinkSync("/proc/sys/kernel", join(volume, "trap"));
    symlinkSync("plain", join(volume, "link"));
    const run = "grep -c ' /data/plain ' /proc/mounts";
    expect(await output({ run, spec: { mounts: mounts("/data/link") } })).toBe("1\n");
    await expect(output({ run, spec: { mounts: mounts("/data/trap") } })).rejects.toThrow("lies inside /proc");
  });
});
