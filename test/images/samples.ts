import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import type { ServedLayer } from "./serve.ts";

export type Compression = "gzip" | "zstd" | "none";

/** A layer of an image: a script of sh that makes its files in the present folder, and how they are packed. */
export interface SampleLayer {
  readonly files: string;
  /** GNU tar's further arguments; by default everything, as the OCI spec wants it. */
  readonly tar?: string;
  /** A script that changes the archive `$1`. */
  readonly edit?: string;
}

const everything = "--format=pax --xattrs --xattrs-include='*' .";
const base: SampleLayer = {
  files: `mkdir -p etc usr/bin var run; ln -s ../run var/run; echo a > etc/a; echo sh > usr/bin/sh; chmod 755 usr/bin/sh
    touch -d @1000000000.123456789 etc/a; mkdir -m 1777 tmp; chown 7:8 etc`,
};
const longPart = "n".repeat(200);

/** umoci moves a folder's time when a later entry changes what is in it. */
export const foldersWithoutTimes: ReadonlySet<string> = new Set([
  "whiteout-and-again-in-one-layer",
  "folders-not-described",
]);

/** Images in which an unpacker can go wrong, lowest layer first. */
export const samples: Readonly<Record<string, readonly SampleLayer[]>> = {
  "many-layers": Array.from({ length: 25 }, (_, i) => ({
    files: `mkdir -p shared dir${i}; echo ${i} > shared/last; echo ${i} > dir${i}/own; ${i % 3 === 0 && i > 0 ? `touch .wh.dir${i - 1}` : ":"}`,
  })),
  whiteouts: [
    base,
    {
      files:
        "mkdir -p etc/deep/er a b c d e; for i in a b c d e etc/deep etc/deep/er; do echo low > $i/file; done; echo low > f",
    },
    {
      files: `mkdir a b c etc etc/deep d; touch a/.wh.file b/.wh..wh..opq b/file2 .wh.e .wh.f etc/deep/.wh.er; echo new > c/file
        touch d/.wh.nothing`,
    },
    { files: "mkdir e; echo again > e/file2; echo again > f; ln -s /etc b; mkdir etc; echo x > etc/deep" },
  ],
  "whiteout-and-again-in-one-layer": [
    { files: "mkdir a b; echo low > a/low; echo low > b/low; echo low > c" },
    {
      files: "mkdir a b; touch .wh.a .wh.b .wh.c; echo up > a/up; echo up > b/up; echo up > c",
      tar: "--format=pax .wh.a a b .wh.b .wh.c c",
    },
  ],
  attributes: [
    {
      files: `cp /bin/true capable; setcap cap_net_raw,cap_sys_admin+ep capable; echo x > bytes; setfattr -n user.any -v 0x00ff0a3d00 bytes
        setfattr -n user.text -v 'a=b' bytes; mkdir dir; setfattr -n user.dir -v 0x01 dir
        cp /bin/true owned; chown 1000:1000 owned; setcap cap_chown+ep owned`,
    },
    { files: "cp /bin/true capable; mkdir dir; chmod 700 dir" },
  ],
  "links-across-layers": [
    {
      files:
        "mkdir -m 2750 d; chown 1:2 d; echo target > d/file; chmod 4711 d/file; chown 3:4 d/file; touch -d @1234567890 d d/file",
    },
    {
      files: "mkdir -m 2750 d; chown 1:2 d; echo x > d/file; ln d/file d/link; ln d/file top; touch -d @1234567890 d",
      edit: "tar --delete -f $1 ./d/file",
    },
  ],
  "links-within": [
    { files: "mkdir a b; echo x > a/one; ln a/one b/two; ln a/one three; ln -s a/one soft; ln soft soft2" },
  ],
  "folders-not-described": [
    {
      files: `mkdir -m 2711 opt; chown 5:6 opt; mkdir -m 700 opt/in; setfattr -n user.k -v v opt; mkdir run var; ln -s ../run var/run; ln -s /opt/in abs
        touch -d @1111111111 opt/in opt`,
    },
    {
      files: "mkdir -p opt/in/new/er var/run abs; echo f > opt/in/new/er/f; echo p > var/run/pid; echo q > abs/q",
      tar: "--format=pax opt/in/new/er/f var/run/pid abs/q",
    },
  ],
  sparse: [
    {
      files: "truncate -s 5M pax; echo a | dd of=pax bs=1 seek=700000 conv=notrunc status=none; echo end >> pax",
      tar: "--format=pax --sparse --sparse-version=1.0 .",
    },
    {
      files: "truncate -s 2M zero; echo a | dd of=zero bs=1 seek=70000 conv=notrunc status=none",
      tar: "--format=pax --sparse --sparse-version=0.1 .",
    },
    {
      files: "truncate -s 2M first; echo a | dd of=first bs=1 seek=70000 conv=notrunc status=none",
      tar: "--format=pax --sparse --sparse-version=0.0 .",
    },
  ],
  names: [
    {
      files: `mkdir -p ${longPart}/${longPart}; echo l > ${longPart}/${longPart}/${longPart}; ln -s ${longPart}/${longPart}/${longPart} long-link
        echo u > 'ünï 名'; printf x > "$(printf 'new\\nline')"; printf y > "$(printf 'byte\\377')"; echo d > '-dash'; echo b > 'back\\slash'`,
    },
    { files: `mkdir -p ${longPart}/${longPart}; echo g > ${longPart}/${longPart}/gnu`, tar: "--format=gnu ." },
  ],
  kinds: [
    {
      files: `mknod c c 1 3; mknod b b 7 300; mkfifo p; chmod 640 p; chown 12:34 c b p; echo s > s; chmod 6755 s; mkdir -m 3777 d; echo o > o
        chown 4000000:4000001 o; chmod 000 o; touch -d @-100.5 old; touch -d @4102444800 late; ln -s nowhere dangling; chown -h 9:9 dangling`,
    },
  ],
  ustar: [
    { files: "mkdir -p a/b; echo x > a/b/c; ln -s b a/l; ln a/b/c h", tar: "--format=ustar ." },
    { files: "echo v > v7", tar: "--format=v7 ." },
  ],
  replaced: [
    { files: "mkdir -p dir/sub; echo x > dir/sub/f; echo file > file; ln -s dir link; mkfifo fifo" },
    {
      files: "echo now-file > dir; mkdir file; echo in > file/in; mkdir link; echo real > link/real; echo plain > fifo",
    },
    { files: "mkdir dir; echo back > dir/back; ln -s file fifo" },
  ],
};

/** GNU's own format, which umoci refuses: compared with GNU tar. */
export const gnuSparse: SampleLayer = {
  files:
    "truncate -s 3M holes; echo middle | dd of=holes bs=1 seek=1500000 conv=notrunc status=none; truncate -s 1M empty",
  tar: "--format=gnu --sparse .",
};

const mediaTypes = { gzip: "tar+gzip", zstd: "tar+zstd", none: "tar" } as const;

/** Makes a layer's files and packs them. Needs root. */
export function packSample(layer: SampleLayer, compression: Compression): ServedLayer {
  const folder = mkdtempSync(join(tmpdir(), "starling-sample-"));
  const sh = (script: string, cwd: string, ...args: readonly string[]) =>
    execFileSync("sh", ["-ec", script, "sh", ...args], { cwd, stdio: ["ignore", "ignore", "inherit"] });
  try {
    const root = join(folder, "root");
    const tar = join(folder, "layer.tar");
    execFileSync("mkdir", [root]);
    sh(layer.files, root);
    sh(`tar --create --file="$1" --numeric-owner --sort=name ${layer.tar ?? everything}`, root, tar);
    if (layer.edit !== undefined) sh(layer.edit, root, tar);
    const archive = readFileSync(tar);
    const blob = { gzip: () => gzipSync(archive), zstd: () => zstdCompressSync(archive), none: () => archive }[
      compression
    ]();
    const diffId = `sha256:${createHash("sha256").update(archive).digest("hex")}`;
    return { blob, diffId, mediaType: `application/vnd.oci.image.layer.v1.${mediaTypes[compression]}` };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
