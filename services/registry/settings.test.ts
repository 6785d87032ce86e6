import { describe, expect, it } from "vitest";
import { credentialHelperOf, defaultRegistrySettings, isInsecure, parseRegistrySettings } from "./settings.ts";

const parse = (value: unknown) => parseRegistrySettings(JSON.stringify(value), "/f.json");

describe("the configuration file", () => {
  it("has the names of Docker's files", () => {
    const settings = parse({
      "insecure-registries": ["10.0.0.0/8", "reg:5000"],
      "registry-mirrors": ["https://mirror/"],
      mirrors: { "reg:5000": ["http://10.0.0.2:5000"] },
      credHelpers: { "reg:5000": "ecr-login" },
      credsStore: "pass",
    });
    expect(settings.mirrors).toEqual({ "docker.io": ["https://mirror"], "reg:5000": ["http://10.0.0.2:5000"] });
    expect(
      ["10.1.2.3:5000", "reg:5000", "reg", "[::1]:1", "11.0.0.1"].map((host) => isInsecure(host, settings)),
    ).toEqual([true, true, false, true, false]);
    expect(["reg:5000", "docker.io"].map((host) => credentialHelperOf(host, settings))).toEqual(["ecr-login", "pass"]);
    expect(parse({})).toEqual(defaultRegistrySettings);
  });

  it.each([
    ["{", "/f.json: not JSON"],
    ["[]", "/f.json: must be a JSON object"],
    ['{"storage-driver":"x"}', '/f.json: storage-driver "x": not known; known are insecure-registries'],
    ['{"insecure-registries":"x"}', '/f.json: insecure-registries "x": give a list of strings'],
    ['{"registry-mirrors":["ftp://x"]}', '/f.json: registry-mirrors "ftp://x": give http(s)://HOST[:PORT]'],
    ['{"mirrors":["x"]}', '/f.json: mirrors ["x"]: give an object whose keys are registries'],
    ['{"credsStore":"../../bin/sh"}', '/f.json: credsStore "../../bin/sh": give NAME of a program'],
  ])("refuses %s", (text, error) => expect(() => parseRegistrySettings(text, "/f.json")).toThrow(error));
});
