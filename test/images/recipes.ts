import { chmodSync, chownSync, linkSync, mkdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { mustExec } from "../cluster/index.ts";
import { unpackPackages } from "./debian.ts";

/** The part of an image's config that says how to run it; names as in the OCI image spec. */
export interface RunConfig {
  readonly Env?: readonly string[];
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly WorkingDir?: string;
  readonly ExposedPorts?: Readonly<Record<string, object>>;
  readonly StopSignal?: string;
  readonly Labels?: Readonly<Record<string, string>>;
}

/** Each kind that registries serve, so that pulling meets them all. */
export type ManifestKind = "oci" | "docker" | "oci-index";

export interface Recipe {
  readonly repository: string;
  readonly tag: string;
  readonly kind: ManifestKind;
  /** Names in `layerRecipes`, lowest first. */
  readonly layers: readonly LayerName[];
  readonly config: RunConfig;
}

const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const web = (tag: string, kind: ManifestKind, version: LayerName) =>
  ({
    repository: "web",
    tag,
    kind,
    layers: ["base", "nginx", version],
    config: {
      Env: [path],
      Entrypoint: ["/usr/sbin/nginx"],
      Cmd: ["-g", "daemon off;"],
      ExposedPorts: { "80/tcp": {} },
      StopSignal: "SIGQUIT",
      Labels: { version: tag },
    },
  }) satisfies Recipe;

/**
 * The images of all tests.
 * `web1`, `web2`: nginx on port 80; `/` answers `host=HOSTNAME version=TAG client=ADDRESS server=ADDRESS`.
 * `tools`: shell, busybox, curl, iperf3, getent; sleeps for ever unless told otherwise.
 * `busybox`: the base layer alone. `oddities`: `/check` says `ok` if all file kinds and whiteouts were unpacked right.
 */
export const recipes = {
  web1: web("1", "docker", "web-1"),
  web2: web("2", "oci", "web-2"),
  tools: {
    repository: "tools",
    tag: "1",
    kind: "oci-index",
    layers: ["base", "tools"],
    config: { Env: [path], Cmd: ["sleep", "infinity"] },
  },
  busybox: { repository: "busybox", tag: "1", kind: "oci", layers: ["base"], config: { Env: [path], Cmd: ["sh"] } },
  oddities: {
    repository: "oddities",
    tag: "1",
    kind: "oci",
    layers: ["base", "oddities-lower", "oddities-upper"],
    config: { Env: [path, "ODD=a b=c"], Cmd: ["/check"], WorkingDir: "/srv/odd dir" },
  },
} as const satisfies Readonly<Record<string, Recipe>>;

export type ImageName = keyof typeof recipes;

/** Each fills an empty folder with the files of one layer. */
export const layerRecipes = {
  base: buildBase,
  nginx: (root: string) => unpackPackages(["nginx", "nginx-common", "libpcre2-8-0", "libssl3", "zlib1g"], root),
  "web-1": (root: string) => buildWebPage(root, "1"),
  "web-2": (root: string) => buildWebPage(root, "2"),
  tools: (root: string) => unpackPackages(toolPackages, root),
  "oddities-lower": buildOdditiesLower,
  "oddities-upper": buildOdditiesUpper,
} as const;

export type LayerName = keyof typeof layerRecipes;

/** curl and iperf3 with all libraries that they link; getent. */
const toolPackages =
  `curl libcurl4 libbrotli1 libcom-err2 libffi8 libgmp10 libgnutls30 libgssapi-krb5-2 libhogweed6 libidn2-0 libk5crypto3
  libkeyutils1 libkrb5-3 libkrb5support0 libldap-2.5-0 libnettle8 libnghttp2-14 libp11-kit0 libpsl5 librtmp1 libsasl2-2
  libssh2-1 libssl3 libtasn1-6 libunistring2 libzstd1 zlib1g iperf3 libiperf0 libsctp1 libc-bin`.split(/\s+/);

async function buildBase(root: string): Promise<void> {
  await unpackPackages(["busybox-static", "libc6", "libcrypt1", "libgcc-s1"], root);
  for (const folder of "dev etc home proc root run sys usr/bin usr/sbin var/log var/run sbin".split(" ")) {
    mkdirSync(join(root, folder), { recursive: true });
  }
  mkdirSync(join(root, "tmp"));
  chmodSync(join(root, "tmp"), 0o1777);
  chmodSync(join(root, "root"), 0o700);
  const applets = await mustExec([join(root, "bin/busybox"), "--list-full"]);
  for (const applet of applets.trim().split("\n")) linkApplet(root, applet);
  const users = [
    "root:x:0:0:root:/root:/bin/sh",
    "www-data:x:33:33::/var/www:/sbin/nologin",
    "nobody:x:65534:65534::/:/sbin/nologin",
  ];
  writeFileSync(join(root, "etc/passwd"), `${users.join("\n")}\n`);
  writeFileSync(join(root, "etc/group"), "root:x:0:\nadm:x:4:\ntty:x:5:\nwww-data:x:33:\nnogroup:x:65534:\n");
  writeFileSync(join(root, "etc/nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files dns\n");
}

function linkApplet(root: string, applet: string): void {
  try {
    symlinkSync("/bin/busybox", join(root, applet));
  } catch (error) {
    // Debian ships the real one, or the applet's folder is not part of this image.
    if (!["EEXIST", "ENOENT"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}

async function buildWebPage(root: string, version: string): Promise<void> {
  mkdirSync(join(root, "etc/nginx"), { recursive: true });
  mkdirSync(join(root, "var/lib/nginx"), { recursive: true });
  writeFileSync(
    join(root, "etc/nginx/nginx.conf"),
    `user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log stderr notice;
events { worker_connections 1024; }
http {
  access_log /dev/stdout;
  default_type text/plain;
  keepalive_timeout 5;
  server {
    listen 80 reuseport;
    listen [::]:80 reuseport;
    location = /health { access_log off; return 200 "ok\\n"; }
    location / { return 200 "host=$hostname version=${version} client=$remote_addr server=$server_addr\\n"; }
  }
}
`,
  );
}

const longName = "a-name-of-more-than-a-hundred-characters-".repeat(4);
const longFolder = "srv/long/".concat("deep-folder-name/".repeat(12));

/** Every kind of entry a layer can have, and what the upper layer removes or replaces. */
async function buildOdditiesLower(root: string): Promise<void> {
  const at = (name: string) => join(root, name);
  for (const folder of ["dev", "srv/odd dir", "srv/opaque", "srv/replaced", "srv/gone-dir/sub", longFolder]) {
    mkdirSync(at(folder), { recursive: true });
  }
  await mustExec(["cp", "/bin/true", at("srv/capable")]);
  await mustExec(["setcap", "cap_net_raw+ep", at("srv/capable")]);
  writeFileSync(at("srv/setuid"), "#!/bin/sh\n");
  chownSync(at("srv/setuid"), 1234, 5678);
  chmodSync(at("srv/setuid"), 0o6755);
  writeFileSync(at("srv/first"), "linked");
  linkSync(at("srv/first"), at("srv/second"));
  symlinkSync("/srv/first", at("srv/absolute"));
  symlinkSync("../srv/first", at("srv/relative"));
  symlinkSync("/nowhere", at("srv/dangling"));
  writeFileSync(at("srv/attributed"), "");
  await mustExec(["setfattr", "-n", "user.starling", "-v", "0x00ff0a3d", at("srv/attributed")]);
  await mustExec(["mkfifo", at("srv/fifo")]);
  await mustExec(["mknod", at("srv/null"), "c", "1", "3"]);
  writeFileSync(at(`${longFolder}${longName}`), "long");
  writeFileSync(at("srv/ünïcode 名前"), "name");
  mkdirSync(at("srv/sticky"));
  chmodSync(at("srv/sticky"), 0o1770);
  for (const file of ["removed", "opaque/old", "replaced/old", "gone-dir/sub/file", "becomes-folder"]) {
    writeFileSync(at(`srv/${file}`), "lower");
  }
  symlinkSync("/etc", at("srv/was-link"));
}

async function buildOdditiesUpper(root: string): Promise<void> {
  const at = (name: string) => join(root, name);
  for (const folder of ["srv/opaque", "srv/becomes-folder", "srv/was-link"]) mkdirSync(at(folder), { recursive: true });
  for (const whiteout of ["srv/.wh.removed", "srv/.wh.gone-dir", "srv/opaque/.wh..wh..opq"])
    writeFileSync(at(whiteout), "");
  writeFileSync(at("srv/opaque/new"), "upper");
  writeFileSync(at("srv/replaced"), "now a file");
  writeFileSync(at("srv/becomes-folder/file"), "upper");
  writeFileSync(at("srv/was-link/file"), "upper");
  writeFileSync(at("check.new"), checkScript);
  renameSync(at("check.new"), at("check"));
  chmodSync(at("check"), 0o755);
}

/** Runs inside the container, with busybox alone. */
const checkScript = `#!/bin/sh
bad=0
is() { [ "$2" = "$3" ] || { echo "wrong: $1: got '$2', want '$3'"; bad=1; }; }
has() { test "$@" || { echo "wrong: test $*"; bad=1; }; }
is "working folder" "$(pwd)" "/srv/odd dir"
is "environment" "$ODD" "a b=c"
is "setuid" "$(stat -c '%a %u %g' /srv/setuid)" "6755 1234 5678"
is "hard link" "$(stat -c '%i %h' /srv/first)" "$(stat -c '%i %h' /srv/second)"
is "hard link count" "$(stat -c %h /srv/first)" 2
is "absolute link" "$(readlink /srv/absolute) $(cat /srv/absolute)" "/srv/first linked"
is "relative link" "$(readlink /srv/relative) $(cat /srv/relative)" "../srv/first linked"
is "dangling link" "$(readlink /srv/dangling)" /nowhere
has -p /srv/fifo
has -c /srv/null
is "device" "$(stat -c '%t %T' /srv/null)" "1 3"
is "long name" "$(cat /${longFolder}${longName})" long
is "unicode name" "$(cat '/srv/ünïcode 名前')" name
is "sticky folder" "$(stat -c %a /srv/sticky)" 1770
has ! -e /srv/removed
has ! -e /srv/gone-dir
is "opaque folder" "$(ls /srv/opaque)" new
is "folder became file" "$(cat /srv/replaced)" "now a file"
is "file became folder" "$(cat /srv/becomes-folder/file)" upper
is "link became folder" "$(cat /srv/was-link/file)" upper
has ! -L /srv/was-link
has ! -e /etc/file
is "whiteout files" "$(find / -xdev -name '.wh.*')" ""
[ $bad = 0 ] && echo ok
exit $bad
`;
