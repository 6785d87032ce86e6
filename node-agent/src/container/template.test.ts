import { Annotations, ContainerSpec, Driver, Task, TaskSpec } from "@starling/api";
import { describe, expect, it } from "vitest";
import { expandPayload, expandTemplate } from "./template.ts";

const node = { id: "n1", hostname: "host1", os: "linux", architecture: "x86_64" };
const task = Task.create({
  id: "t1",
  serviceId: "s1",
  slot: 3,
  serviceAnnotations: Annotations.create({ name: "web", labels: { tier: "front", "io.x": "y" } }),
  spec: TaskSpec.create({ container: ContainerSpec.create({ env: ["A=1", "N={{.Node.Hostname}}", "EMPTY"] }) }),
});
const golang = Driver.create({ name: "golang" });
const payloads = {
  secret: (target: string) => (target === "key" ? Buffer.from("hush {{.Task.ID}}") : undefined),
  config: (target: string) => (target === "/etc/conf" ? Buffer.from("loud") : undefined),
};
const expanded = (text: string, templating: Driver | undefined = golang) =>
  Buffer.from(expandPayload("config app", { data: Buffer.from(text), templating }, task, node, payloads)).toString();

describe("templates", () => {
  it.each([
    ["{{.Service.ID}} {{.Service.Name}} {{.Task.ID}} {{.Task.Name}} {{.Task.Slot}}", "s1 web t1 web.3.t1 3"],
    ["{{.Node.ID}} {{.Node.Hostname}} {{.Node.Platform.OS}} {{.Node.Platform.Architecture}}", "n1 host1 linux x86_64"],
    ['{{.Service.Labels.tier}} {{index .Service.Labels "io.x"}} [{{.Service.Labels.none}}]', "front y []"],
    ["{{.Service.Labels}}", "map[io.x:y tier:front]"],
    ['{{join "-" .Service.Name .Task.Slot "z"}}', "web-3-z"],
    ['{{ "a" | print "b" }} {{ print (join "," "x" "y") `\\n` "\\n" 7 }}', "ba x,y\\n\n7"],
    ["a {{- .Task.Slot -}} b", "a3b"],
    ["a \n{{- /* nothing */ -}}\n b", "ab"],
    ["a {{- 7 }} b {{ 8 -}} c", "a7 b 8c"],
    ['{{if eq .Task.Slot "3"}}three{{else if eq .Task.Slot "4"}}four{{else}}more{{end}}!', "three!"],
    ['{{if eq .Task.Slot "1" "2"}}a{{if true}}b{{end}}{{else if not .Service.Labels.none}}c{{end}}', "c"],
    ['{{if and .Task.Slot (ne .Node.ID "n2")}}yes{{end}}{{if or "" false}}no{{end}}', "yes"],
  ])("%j is %j", (text, wanted) => {
    expect(expandTemplate(text, task, node)).toBe(wanted);
  });

  it.each([
    ["{{.Nope}}", "{{.Nope}} is not known here"],
    ['{{env "A"}}', '{{env "A"}} is not known here'],
    ["{{range .Service.Labels}}x{{end}}", "{{range .Service.Labels}} is not known here"],
    ["{{if .Task.Slot}}x", "{{if .Task.Slot}} has no {{end}}"],
    ["x{{end}}", "there is no if before it"],
    ["{{.Task.Slot", "a {{ has no }}"],
    ['{{.Task.ID | "x"}}', "is not known here"],
  ])("%j is refused", (text, why) => {
    expect(() => expandTemplate(text, task, node)).toThrow(why);
  });
});

describe("payloads of secrets and configs", () => {
  it("are expanded when they are templates: environment, other secrets and configs, the task's fields", () => {
    expect(expanded('{{env "A"}} {{env "N"}} [{{env "EMPTY"}}{{env "NONE"}}]')).toBe("1 host1 []");
    expect(expanded('{{secret "key"}}, {{config "/etc/conf"}} on {{.Node.Hostname}}')).toBe(
      "hush {{.Task.ID}}, loud on host1",
    );
  });

  it("stay as they are when they are not", () => {
    const binary = Buffer.from([0, 255, 123, 123]);
    expect(expandPayload("x", { data: binary }, task, node, payloads)).toBe(binary);
    expect(() => expanded("x", Driver.create({ name: "jinja" }))).toThrow('config app: templating "jinja" is unknown');
  });

  it("are refused when they name what the task does not get", () => {
    expect(() => expanded('{{secret "other"}}')).toThrow("config app: secret target other not found");
  });
});
