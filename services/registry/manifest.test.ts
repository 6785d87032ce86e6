import { describe, expect, it } from "vitest";
import { choosePlatform, parseImageConfig, parseManifest, platformNames } from "./manifest.ts";

const digest = `sha256:${"a".repeat(64)}`;
const descriptor = { mediaType: "x", digest, size: 7 };

describe("parseManifest", () => {
  it("tells images from indexes", () => {
    expect(parseManifest(JSON.stringify({ config: descriptor, layers: [descriptor] }))).toEqual({
      kind: "image",
      config: descriptor,
      layers: [descriptor],
    });
    const platform = { os: "linux", architecture: "arm64", variant: "v8" };
    const index = parseManifest(JSON.stringify({ manifests: [descriptor, { ...descriptor, platform }] }));
    expect(
      index.kind === "index" && choosePlatform(index.manifests, { os: "linux", architecture: "arm64" }),
    ).toMatchObject(descriptor);
    expect(
      index.kind === "index" && choosePlatform(index.manifests, { os: "linux", architecture: "amd64" }),
    ).toBeUndefined();
  });

  it.each([
    ["<html>", "manifest: not JSON"],
    ["[]", "manifest: must be an object"],
    ["{}", "manifest: neither an image nor an index (schema 1?)"],
    [
      `{"layers":[],"config":{"digest":"sha256:../../x","size":1}}`,
      "manifest: config.digest must be sha256:<64 hexadecimal digits>",
    ],
    [`{"layers":[{"digest":"${digest}","size":-1}],"config":{}}`, "manifest: layers[0].size must be a number of bytes"],
  ])("refuses %s", (text, error) => expect(() => parseManifest(text)).toThrow(error));
});

describe("choosePlatform", () => {
  const of = (digit: string, os: string, architecture: string, variant = "") => ({
    ...descriptor,
    digest: `sha256:${digit.repeat(64)}`,
    platform: { os, architecture, variant },
  });
  const choose = (manifests: ReturnType<typeof of>[], architecture: string, variant?: string) =>
    choosePlatform(manifests, { os: "linux", architecture, ...(variant === undefined ? {} : { variant }) })?.digest[7];

  it("takes the highest variant that the host can run", () => {
    const arm = [of("5", "linux", "arm", "v5"), of("6", "linux", "arm", "v6"), of("7", "linux", "arm", "v7")];
    expect(choose(arm, "arm")).toBe("7");
    expect(choose(arm, "arm", "v6")).toBe("6");
    expect(choose([of("2", "linux", "amd64", "v2"), of("1", "linux", "amd64")], "amd64")).toBe("1");
    expect(choose([of("2", "linux", "amd64", "v2")], "amd64")).toBeUndefined();
    expect(choose([of("2", "linux", "amd64", "v2"), of("3", "linux", "amd64", "v3")], "amd64", "v2")).toBe("2");
    expect(choose([of("a", "linux", "arm64"), of("b", "linux", "arm64", "v8")], "arm64", "v8")).toBe("a");
  });

  it("passes over other systems, attestations and entries without a platform, and knows the kernel's words", () => {
    const entries = [of("w", "windows", "amd64"), of("u", "unknown", "unknown"), of("x", "linux", "x86_64")];
    expect(choose(entries, "amd64")).toBe("x");
    expect(platformNames(entries)).toBe("windows/amd64, linux/x86_64");
    expect(choosePlatform([descriptor], { os: "linux", architecture: "amd64" })).toBeUndefined();
  });
});

describe("parseImageConfig", () => {
  it("takes absent and null members as empty", () => {
    const config = parseImageConfig(`{"config":{"Cmd":null,"Env":["A=1"]},"rootfs":{"diff_ids":["${digest}"]}}`);
    expect(config).toMatchObject({ cmd: [], entrypoint: [], env: ["A=1"], user: "", diffIds: [digest] });
  });

  it("refuses diff ids that could name another folder", () => {
    expect(() => parseImageConfig(`{"rootfs":{"diff_ids":["../x"]}}`)).toThrow('diff id "../x" is not a sha256 digest');
  });
});
