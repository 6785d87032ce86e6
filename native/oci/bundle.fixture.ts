import { spawnSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nativeTool } from "../paths.ts";

/** config.json, as loosely as tests need it. */
// biome-ignore lint/suspicious/noExplicitAny: tests put anything into a config.
export type Config = Record<string, any>;

export interface Outcome {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Debian's crun refuses hosts with both versions of cgroups: it is shown the first alone, in a mount namespace of its own. */
const hideUnified = 'umount -l /sys/fs/cgroup/unified 2>/dev/null; exec "$@"';

/** A bundle of busybox, and the runtimes that run it. */
export class Bundle {
  readonly folder = mkdtempSync(join(tmpdir(), "starling-oci-"));
  readonly root = join(this.folder, "root");
  #runs = 0;

  constructor() {
    // Roots of user namespaces pass through it, too.
    chmodSync(this.folder, 0o755);
    for (const name of ["bin", "proc", "sys", "dev", "etc", "tmp", "data"]) {
      mkdirSync(join(this.folder, "rootfs", name), { recursive: true });
    }
    copyFileSync("/bin/busybox", join(this.folder, "rootfs/bin/busybox"));
    for (const name of "sh true cat id ls grep sort env hostname pwd sleep mount umount echo mknod chroot stat date tty ln kill".split(
      " ",
    )) {
      symlinkSync("busybox", join(this.folder, "rootfs/bin", name));
    }
  }

  /** A config that runs `script` by a shell, with what Docker would give it; `change` does the rest. */
  config(script: string, change: (config: Config) => void = () => {}): Config {
    const capabilities = ["CAP_CHOWN", "CAP_KILL", "CAP_MKNOD", "CAP_SETUID", "CAP_NET_BIND_SERVICE"];
    const config: Config = {
      ociVersion: "1.0.2",
      process: {
        terminal: false,
        user: { uid: 0, gid: 0 },
        args: ["/bin/sh", "-c", script],
        env: ["PATH=/bin", "TERM=xterm"],
        cwd: "/",
        capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
        noNewPrivileges: true,
      },
      root: { path: "rootfs" },
      hostname: "box",
      mounts: [
        { destination: "/proc", type: "proc", source: "proc" },
        {
          destination: "/dev",
          type: "tmpfs",
          source: "tmpfs",
          options: ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
          destination: "/dev/pts",
          type: "devpts",
          source: "devpts",
          options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        { destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"] },
      ],
      linux: {
        namespaces: ["pid", "network", "ipc", "uts", "mount"].map((type) => ({ type })),
        maskedPaths: ["/proc/keys", "/proc/acpi", "/sys/firmware"],
        readonlyPaths: ["/proc/sys", "/proc/bus"],
      },
    };
    change(config);
    return config;
  }

  write(config: Config, name = "config.json"): string {
    const path = join(this.folder, name);
    writeFileSync(path, JSON.stringify(config));
    return path;
  }

  /** `starling-run WORD…` on this bundle's own root folder. */
  ours(...words: readonly string[]): Outcome {
    return outcomeOf([nativeTool("starling-run"), "--root", this.root, ...words], this.folder);
  }

  /** The words that begin a command on this bundle's root folder, for a shell. */
  get command(): string {
    return `${nativeTool("starling-run")} --root ${this.root}`;
  }

  /** A shell's outcome, for what needs redirections. */
  shell(script: string): Outcome {
    return outcomeOf(["sh", "-c", script], this.folder);
  }

  run(config: Config): Outcome {
    return this.runText(JSON.stringify(config));
  }

  runText(config: string): Outcome {
    const file = join(this.folder, `ours-${++this.#runs}.json`);
    writeFileSync(file, config);
    return this.ours("run", "-b", this.folder, "-f", file, `starling-oci-${process.pid}-${this.#runs}`);
  }

  runByCrun(config: Config): Outcome {
    const file = this.write(config, `crun-${++this.#runs}.json`);
    const id = `starling-crun-${process.pid}-${this.#runs}`;
    const crun = ["crun", "--cgroup-manager=cgroupfs", "--root", join(this.folder, "crun")];
    const words = [...crun, "run", "-b", this.folder, "-f", file, id];
    return outcomeOf(["unshare", "--mount", "sh", "-c", hideUnified, "sh", ...words], this.folder);
  }

  /** Nothing that was made may be left. */
  containers(): readonly string[] {
    return readdirSync(this.root);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Output goes to files: a container that goes on holds a pipe open. */
function outcomeOf(words: readonly string[], cwd: string): Outcome {
  const [program = "", ...args] = words;
  const files = ["stdout", "stderr"].map((name) => join(cwd, name));
  const [out, err] = files.map((file) => openSync(file, "w"));
  const done = spawnSync(program, args, { cwd, timeout: 100_000, stdio: ["ignore", out!, err!] });
  for (const fd of [out!, err!]) closeSync(fd);
  const [outText = "", errText = ""] = files.map((file) => readFileSync(file, "utf8"));
  return { code: done.status, out: outText, err: errText };
}
