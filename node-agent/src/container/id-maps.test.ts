import { describe, expect, it } from "vitest";
import { hostOwner, idMapsOf } from "./id-maps.ts";

const files = {
  passwd: "root:x:0:0::/root:/bin/sh\nann:x:1001:1001::/:/bin/sh\n",
  subuid: "dockremap:100000:65536\n# ann:1:1\nann:400000:1000\n1001:300000:65536\n",
  subgid: "dockremap:200000:65536\nann:300000:65536\nstaff:500000:65536\n",
};
const one = (host: number, size = 65_536) => [{ container: 0, host, size }];

describe("--userns-remap", () => {
  it("default: the ranges that Docker's dockremap has", () => {
    expect(idMapsOf("default", files)).toEqual({ uids: one(100_000), gids: one(200_000) });
  });

  it.each(["ann", "1001"])("%s: all ranges of the user, by name and by number, lowest first", (user) => {
    expect(idMapsOf(`${user}:ann`, files)).toEqual({
      uids: [...one(300_000), { container: 65_536, host: 400_000, size: 1_000 }],
      gids: one(300_000),
    });
  });

  it("takes groups from where it is told", () => {
    expect(idMapsOf("dockremap:staff", files).gids).toEqual(one(500_000));
  });

  it.each([
    ["bob", /--userns-remap "bob": \/etc\/subuid gives bob no ids; add a line such as bob:100000:65536/],
    ["ann:users", /\/etc\/subgid gives users no ids/],
    [":", /write default, or USER\[:GROUP\]/],
    ["a:b:c", /write default, or USER\[:GROUP\]/],
  ])("refuses %s", (remap, message) => {
    expect(() => idMapsOf(remap, files)).toThrow(message);
  });

  it("says which owner of the host a user of the container is", () => {
    const ids = idMapsOf("ann", files);
    expect(hostOwner(ids, 65_540, 5)).toEqual({ uid: 400_004, gid: 300_005 });
    expect(hostOwner(undefined, 7, 8)).toEqual({ uid: 7, gid: 8 });
    expect(() => hostOwner(ids, 70_000, 0)).toThrow(/^user 70000: not among the ids/);
  });
});
