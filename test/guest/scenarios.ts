import { readFileSync, writeFileSync } from "node:fs";
import type { BundleDevice, BundleSpec } from "@starling/native";
import type { Box, Contained } from "./box.ts";

/** What a place has for the scenarios: its cgroups, and devices to play with. */
export interface Place {
  readonly cgroups: "hybrid" | "v1" | "v2";
  /** A block device that nobody uses; undefined: there is none. */
  readonly disk: BundleDevice | undefined;
}

type Resources = NonNullable<BundleSpec["resources"]>;

/** One limit, and the program by which it is seen to bite. */
export interface Scenario {
  readonly limit: string;
  /** What the program does, and by what it is seen that it was held. */
  readonly program: string;
  /** Resolves when the limit was seen to bite, and not to without it. Throws what the runtime or the kernel said instead. */
  run(box: Box, place: Place): Promise<void>;
}

const MiB = 2 ** 20;
/** Fills so many megabytes of its own memory, then says so. */
const fill = (megabytes: number) =>
  `dd if=/dev/zero of=/dev/null bs=${megabytes}M count=1 2>/dev/null && echo filled || echo refused`;
/** A child does it, so that a kill of the kernel's is its end, and not the container's. */
const spin = "while :; do :; done";

async function outcome(
  box: Box,
  script: string,
  resources: Resources,
  more: Partial<BundleSpec> = {},
): Promise<string> {
  const { output, exit } = await box.run(script, resources, more);
  return exit.oomKilled ? "out of memory" : output.trim();
}

function expectSame(what: string, seen: unknown, wanted: unknown): void {
  const [a, b] = [JSON.stringify(seen), JSON.stringify(wanted)];
  if (a !== b) throw new Error(`${what}: ${a}, not ${b}`);
}

function expectThat(holds: boolean, what: () => string): void {
  if (!holds) throw new Error(what());
}

/** Of two that spin on one CPU: how many times the first's CPU time is the second's. */
async function shareOf(box: Box, place: Place, first: Resources, second: Resources): Promise<number> {
  // Where there is more than one CPU they must meet on one.
  const one: Resources = place.cgroups === "hybrid" ? { cpus: "0" } : {};
  const containers: Contained[] = [];
  try {
    for (const resources of [first, second]) containers.push(await box.start(spin, { ...one, ...resources }));
    const used = () => Promise.all(containers.map(async ({ shim }) => (await shim.stats()).cpuUsageNs));
    const before = await used();
    // Until both together had a second of it, however long that takes.
    for (;;) {
      const [a = 0, b = 0] = (await used()).map((now, i) => now - before[i]!);
      if (a + b > 1e9) return a / Math.max(b, 1);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  } finally {
    for (const container of containers) await container.remove();
  }
}

function diskOf({ disk }: Place): BundleDevice {
  if (disk === undefined) throw new Error("this place has no block device to spare");
  return disk;
}

/** Of two that read the disk at once: how many times the first's bytes are the second's. */
async function bytesShare(box: Box, place: Place, first: number, second: number): Promise<number> {
  const disk = diskOf(place);
  const { major, minor } = disk;
  const resources = { deviceRules: [{ type: "b", major, minor, access: "rwm" }] } as const;
  const script = "while :; do dd if=/dev/disk of=/dev/null bs=64k iflag=direct 2>/dev/null; done";
  const containers: Contained[] = [];
  const undo = chooseScheduler(disk, "bfq");
  const tunable = (name: string) => `/sys/dev/block/${major}:${minor}/queue/iosched/${name}`;
  // Else it favours whoever has just begun to read, as each dd has, and lets others in while that one thinks.
  writeFileSync(tunable("low_latency"), "0");
  writeFileSync(tunable("strict_guarantees"), "1");
  try {
    for (const ioWeight of [first, second]) {
      containers.push(await box.start(script, { ...resources, ioWeight }, { devices: [disk] }));
    }
    const read = () => containers.map((container) => container.bytesOf(disk));
    const before = read();
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      const [a = 0, b = 0] = read().map((now, i) => now - before[i]!);
      if (a + b > 256 * MiB) return a / Math.max(b, 1);
    }
  } finally {
    for (const container of containers) await container.remove();
    undo();
  }
}

/** A kernel without that scheduler says so. */
function chooseScheduler({ major, minor }: BundleDevice, name: string): () => void {
  const file = `/sys/dev/block/${major}:${minor}/queue/scheduler`;
  const before = /\[(\w+)\]/.exec(readFileSync(file, "utf8"))?.[1] ?? "none";
  try {
    writeFileSync(file, name);
  } catch (error) {
    throw new Error(`${name}: this kernel has no such I/O scheduler (${(error as NodeJS.ErrnoException).code})`);
  }
  return () => writeFileSync(file, before);
}

/** Bytes per second and operations are the kernel's to hold: direct writes past the page cache, and how long they took. */
async function secondsOf(box: Box, place: Place, script: string, resources: Resources): Promise<number> {
  const disk = diskOf(place);
  const { major, minor } = disk;
  const rule = { type: "b", major, minor, access: "rwm" } as const;
  const text = await outcome(
    box,
    `s=$(cut -d' ' -f1 /proc/uptime); ${script} || echo failed; e=$(cut -d' ' -f1 /proc/uptime); awk "BEGIN { print $e - $s }"`,
    { ...resources, deviceRules: [rule] },
    { devices: [disk] },
  );
  const seconds = Number(text);
  if (Number.isNaN(seconds)) throw new Error(text);
  return seconds;
}

function ioScenario(
  what: "readBps" | "writeBps" | "readIops" | "writeIops",
  rate: number,
  dd: string,
): Scenario["run"] {
  return async (box, place) => {
    const { major = 0, minor = 0 } = place.disk ?? {};
    const script = `dd ${dd} 2>/dev/null`;
    const free = await secondsOf(box, place, script, {});
    const held = await secondsOf(box, place, script, { ioLimits: [{ major, minor, [what]: rate }] });
    // 2 MiB at 1 MiB/s, or 32 operations at 16 a second: two seconds, less what the kernel lets through at once.
    expectThat(held > 1 && held > 2 * free, () => `took ${held} s with the limit, ${free} s without`);
  };
}

export const scenarios: readonly Scenario[] = [
  {
    limit: "memory",
    program: "dd with a buffer of 48 MiB: killed at 24 MiB, reported as out of memory; done without",
    async run(box) {
      expectSame("without", await outcome(box, fill(48), {}), "filled");
      expectSame("with", await outcome(box, fill(48), { memoryBytes: 24 * MiB }), "out of memory");
    },
  },
  {
    limit: "swap",
    program: "the same with a limit of 24 MiB and swap of 64 MiB: done; with swap of 8 MiB: killed",
    async run(box) {
      expectSame("ample", await outcome(box, fill(48), { memoryBytes: 24 * MiB, swapBytes: 64 * MiB }), "filled");
      expectSame(
        "scarce",
        await outcome(box, fill(48), { memoryBytes: 24 * MiB, swapBytes: 8 * MiB }),
        "out of memory",
      );
    },
  },
  {
    limit: "swappiness",
    program: "a setting of the group, read back",
    async run(box) {
      const container = await box.start(spin, { memoryBytes: 24 * MiB, swappiness: 7 });
      try {
        expectSame("memory.swappiness", container.setting("memory.swappiness"), "7");
      } finally {
        await container.remove();
      }
    },
  },
  {
    limit: "memory reservation",
    program: "a setting of the group, read back: it is a wish to the kernel, which holds nothing back",
    async run(box, { cgroups }) {
      const container = await box.start(spin, { memoryReservationBytes: 16 * MiB });
      try {
        const file = cgroups === "v2" ? "memory.low" : "memory.soft_limit_in_bytes";
        expectSame(file, container.setting(file), String(16 * MiB));
      } finally {
        await container.remove();
      }
    },
  },
  {
    limit: "CPU quota",
    program: "a loop: held back by the kernel again and again at a tenth of a CPU (cpu.stat), never without",
    async run(box) {
      for (const [resources, throttled] of [
        [{ cpuQuotaUs: 100_000_000 }, false],
        [{ cpuQuotaUs: 10_000 }, true],
      ] as const) {
        const container = await box.start(spin, resources);
        try {
          await container.usesCpu(100);
          const times = Number(/nr_throttled (\d+)/.exec(container.setting("cpu.stat"))?.[1]);
          expectThat(
            throttled ? times >= 5 : times === 0,
            () => `${JSON.stringify(resources)}: held back ${times} times`,
          );
        } finally {
          await container.remove();
        }
      }
    },
  },
  {
    limit: "CPU weight",
    program:
      "two loops on one CPU: weights of 1024 and 128 give one of them over three times the other's time, equal ones do not",
    async run(box, place) {
      const equal = await shareOf(box, place, { cpuShares: 512 }, { cpuShares: 512 });
      expectThat(equal > 0.5 && equal < 2, () => `equal weights: ${equal}`);
      const unequal = await shareOf(box, place, { cpuShares: 1024 }, { cpuShares: 128 });
      expectThat(unequal > 3, () => `1024 to 128: ${unequal}`);
    },
  },
  {
    limit: "cpuset",
    program: "grep of Cpus_allowed_list: the one CPU that it was given",
    async run(box) {
      const script = "grep Cpus_allowed_list /proc/self/status | cut -f2";
      expectSame("with", await outcome(box, script, { cpus: "0" }), "0");
      expectThat((await outcome(box, script, {})) !== "0", () => "this place has one CPU");
    },
  },
  {
    limit: "memory nodes",
    program: "grep of Mems_allowed_list; a node that the host has not is refused",
    async run(box) {
      expectSame(
        "node 0",
        await outcome(box, "grep Mems_allowed_list /proc/self/status | cut -f2", { memoryNodes: "0" }),
        "0",
      );
      const refused = await box.run("true", { memoryNodes: "999" }).then(
        () => "taken",
        (error: Error) => error.message,
      );
      expectThat(refused.includes("cpuset.mems"), () => `node 999: ${refused}`);
    },
  },
  {
    limit: "pids",
    program: "a shell that starts ten sleeps: cannot fork at a limit of five, can without",
    async run(box) {
      const script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 100 & done; echo all";
      expectSame("without", await outcome(box, script, {}), "all");
      const held = await outcome(box, script, { pids: 5 });
      expectThat(held.includes("can't fork"), () => held);
    },
  },
  {
    limit: "block I/O: bytes written per second",
    program: "dd of 2 MiB, direct: two seconds at 1 MiB/s",
    run: ioScenario("writeBps", MiB, "if=/dev/zero of=/dev/disk bs=256k count=8 oflag=direct"),
  },
  {
    limit: "block I/O: bytes read per second",
    program: "dd of 2 MiB, direct: two seconds at 1 MiB/s",
    run: ioScenario("readBps", MiB, "if=/dev/disk of=/dev/null bs=256k count=8 iflag=direct"),
  },
  {
    limit: "block I/O: writes per second",
    program: "dd of 32 blocks, direct: two seconds at 16 a second",
    run: ioScenario("writeIops", 16, "if=/dev/zero of=/dev/disk bs=4k count=32 oflag=direct"),
  },
  {
    limit: "block I/O: reads per second",
    program: "dd of 32 blocks, direct: two seconds at 16 a second",
    run: ioScenario("readIops", 16, "if=/dev/disk of=/dev/null bs=4k count=32 iflag=direct"),
  },
  {
    limit: "block I/O weight",
    program:
      "two that read a disk by the BFQ scheduler: weights of 1000 and 10 give one of them over twice the other's bytes, equal ones do not",
    async run(box, place) {
      const equal = await bytesShare(box, place, 500, 500);
      expectThat(equal > 0.5 && equal < 2, () => `equal weights: ${equal}`);
      const unequal = await bytesShare(box, place, 1000, 10);
      expectThat(unequal > 2, () => `1000 to 10: ${unequal}`);
    },
  },
  {
    limit: "devices",
    program:
      "opens a node of a disk that it made: refused, until a rule lets it; writing stays refused when the rule is for reading",
    async run(box, place) {
      const { major, minor } = diskOf(place);
      const script = `rm -f /d; mknod /d b ${major} ${minor}; (: < /d) 2>/dev/null && echo read; (: >> /d) 2>/dev/null && echo write; true`;
      const rule = (access: string) => ({ deviceRules: [{ type: "b", major, minor, access }] }) as const;
      expectSame("everything", await outcome(box, script, rule("rwm")), "read\nwrite");
      expectSame("reading", await outcome(box, script, rule("rm")), "read");
      expectSame("nothing", await outcome(box, script, {}), "");
    },
  },
  {
    limit: "freezing",
    program: "a loop uses no CPU while it is paused, and goes on afterwards",
    async run(box) {
      const container = await box.start(spin, {});
      try {
        await container.usesCpu(50);
        await container.shim.pause();
        const at = (await container.shim.stats()).cpuUsageNs;
        await new Promise((resolve) => setTimeout(resolve, 200));
        expectSame("CPU time while paused", (await container.shim.stats()).cpuUsageNs - at, 0);
        await container.shim.resume();
        await container.usesCpu(50);
      } finally {
        await container.remove();
      }
    },
  },
  {
    limit: "exec",
    program: "a program that is run inside is in the container's groups, and counted there",
    async run(box) {
      const container = await box.start("sleep 100", { pids: 4 });
      try {
        const { output } = await container.shim.exec({
          args: ["sh", "-c", "sleep 9 & sleep 9 & sleep 9 & sleep 9 & echo all"],
        });
        expectThat(output.includes("can't fork"), () => output);
      } finally {
        await container.remove();
      }
    },
  },
];
