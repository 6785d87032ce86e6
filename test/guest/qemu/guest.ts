import { spawn } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { SwarmError } from "@starling/base";
import { cacheFolder, mustExec, repositoryRoot } from "../../cluster/index.ts";
import { unpackPackages } from "../../images/debian.ts";

const folder = join(cacheFolder, "qemu-guest");
/** The guest has memory there (init.sh). */
const hidden = ["/run/", "/tmp/", "/var/tmp/", "/var/lib/"];
/** Without these there is no root to take others from. */
const bootModules = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio-rng"];

/** A kernel of Debian's, unpacked: paths. */
interface Kernel {
  readonly image: string;
  /** Folder of its modules, which holds one folder by the kernel's release. */
  readonly modules: string;
  readonly initramfs: string;
}

export interface GuestOptions {
  /** Test files, as vitest takes them. */
  readonly files: readonly string[];
  /** Gets what the guest's console says, as it comes. */
  readonly onOutput: (text: string) => void;
  readonly timeoutMs: number;
}

/**
 * Boots Debian's kernel in QEMU, emulated (no KVM needed), with this machine's root beneath it, read-only, and memory over it;
 * runs the test files in there. Resolves with their exit status. Rejects when it ends without one, or not in time.
 */
export async function testInGuest({ files, onOutput, timeoutMs }: GuestOptions): Promise<number> {
  const place = hidden.find((folder) => repositoryRoot.startsWith(folder));
  if (place !== undefined) {
    throw new SwarmError(
      "FailedPrecondition",
      `the guest does not see the repository below ${place}: move it elsewhere`,
    );
  }
  const { image, modules, initramfs } = await prepareKernel();
  const words = [
    ...["console=ttyS0", "quiet", "panic=-1", "random.trust_cpu=on", "net.ifnames=0"],
    ...[`guest_folder=${repositoryRoot}`, `guest_modules=${modules}`, `guest_files=${files.join(",")}`],
    `guest_now=${Math.floor(Date.now() / 1000)}`,
  ];
  const machine = [
    ...[
      "-accel",
      "tcg,thread=multi",
      "-cpu",
      "max",
      "-smp",
      "2",
      "-m",
      "8G",
      "-no-reboot",
      "-nographic",
      "-monitor",
      "none",
    ],
    ...[
      "-nic",
      "none",
      "-device",
      "virtio-rng-pci",
      "-kernel",
      image,
      "-initrd",
      initramfs,
      "-append",
      words.join(" "),
    ],
    ...["-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"],
  ];
  const child = spawn("qemu-system-x86_64", machine, { stdio: ["ignore", "pipe", "pipe"] });
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, timeoutMs);
  let console_ = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (data: Buffer) => {
      const text = data.toString("utf8");
      console_ = (console_ + text).slice(-4_096);
      onOutput(text);
    });
  }
  await new Promise<void>((resolve, reject) => child.on("error", reject).on("close", () => resolve()));
  clearTimeout(timer);
  const status = /@exit (\d+)/.exec(console_)?.[1];
  if (status === undefined) {
    const how = late ? `was stopped after ${timeoutMs / 60_000} minutes` : "ended before its tests: see its last words";
    throw new Error(`the guest ${how}`);
  }
  return Number(status);
}

/** Debian's kernel, from .cache or unpacked there, and an initramfs for it. */
async function prepareKernel(): Promise<Kernel> {
  const name = await kernelPackage();
  const root = join(folder, name);
  const modules = join(root, "lib/modules");
  if (!existsSync(join(root, "complete"))) {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(root, { recursive: true });
    await unpackPackages([name], root);
    for (const release of readdirSync(modules)) await mustExec(["depmod", "-b", root, release]);
    writeFileSync(join(root, "complete"), "");
  }
  const [release = ""] = readdirSync(modules);
  return { image: join(root, `boot/vmlinuz-${release}`), modules, initramfs: await makeInitramfs(root, release) };
}

/** Name of the package that `linux-image-amd64` stands for now. */
async function kernelPackage(): Promise<string> {
  const text = await mustExec(["apt-cache", "depends", "linux-image-amd64"]);
  const name = /Depends: (linux-image-[\w.-]+)/.exec(text)?.[1];
  if (name === undefined) throw new Error(`apt-cache names no kernel: ${text}`);
  return name;
}

async function makeInitramfs(root: string, release: string): Promise<string> {
  const [tree, file] = [join(folder, "initramfs.d"), join(folder, "initramfs")];
  rmSync(tree, { recursive: true, force: true });
  mkdirSync(join(tree, "modules"), { recursive: true });
  await unpackPackages(["busybox-static"], tree);
  copyFileSync(join(import.meta.dirname, "init.sh"), join(tree, "init"));
  const order = new Set<string>();
  for (const name of bootModules) {
    const text = await mustExec(["modprobe", "-d", root, "-S", release, "--show-depends", name]);
    for (const [, path] of text.matchAll(/^insmod (\S+)/gm)) {
      order.add(basename(path!));
      copyFileSync(path!, join(tree, "modules", basename(path!)));
    }
  }
  writeFileSync(join(tree, "modules/order"), [...order].join("\n"));
  const pack = `ln -s busybox bin/sh; find . | cpio -o -H newc --quiet | gzip -1 > ${file}`;
  await mustExec(["bash", "-ec", pack], { cwd: tree });
  return file;
}
