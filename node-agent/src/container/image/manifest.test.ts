import { describe, expect, it } from "vitest";
import { choosePlatform, parseImageConfig, parseManifest } from "./manifest.ts";

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

describe("parseImageConfig", () => {
  it("takes absent and null members as empty", () => {
    const config = parseImageConfig(`{"config":{"Cmd":null,"Env":["A=1"]},"rootfs":{"diff_ids":["${digest}"]}}`);
    expect(config).toMatchObject({ cmd: [], entrypoint: [], env: ["A=1"], user: "", diffIds: [digest] });
  });

  it("refuses diff ids that could name another folder", () => {
    expect(() => parseImageConfig(`{"rootfs":{"diff_ids":["../x"]}}`)).toThrow('diff id "../x" is not a sha256 digest');
  });
});
