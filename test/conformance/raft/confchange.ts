import {
  Changer,
  describeProgressMap,
  describeTrackerConfig,
  emptyTrackerConfig,
  type Membership,
  parseConfChanges,
  RaftError,
} from "raft-ts";
import { onlyValue, toBool } from "./args.ts";
import type { Directive } from "./datadriven.ts";
import type { Handler } from "./run-file.ts";

function change(from: Membership, lastIndex: number, d: Directive): Membership {
  const changer = new Changer({ inflightMsgsMax: 10, inflightBytesMax: 0, lastIndex });
  const changes = parseConfChanges(d.input);
  switch (d.command) {
    case "simple":
      return changer.simple(from, changes);
    case "enter-joint":
      return changer.enterJoint(from, changes, d.args.length > 0 && toBool(d, onlyValue(d, "autoleave")));
    case "leave-joint":
      if (changes.length > 0) throw new RaftError("this command takes no input");
      return changer.leaveJoint(from);
    default:
      throw new RaftError("unknown command");
  }
}

/** The directives of confchange/testdata/, starting from an empty membership. */
export function confChangeHandler(): Handler {
  let membership: Membership = { config: emptyTrackerConfig, progress: new Map() };
  let lastIndex = 0;
  return (d) => {
    try {
      membership = change(membership, lastIndex, d);
    } catch (err) {
      if (!(err instanceof RaftError)) throw err;
      return `${err.message}\n`;
    } finally {
      lastIndex++;
    }
    return `${describeTrackerConfig(membership.config)}\n${describeProgressMap(membership.progress)}`;
  };
}
