/** Pure: no clock, no I/O, no randomness. */
import { posix } from "node:path";
import ts from "typescript";
import { nativeRules, type PackageRule, packageRules, purePackages, sharedOrchestratorParts } from "./rules.ts";

export const pureMark = "/** Pure: no clock, no I/O, no randomness. */";

/** One source file; `path` relative to the repository's root, with forward slashes. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** What the file does against the rules, as `path:line: sentence`; empty when it keeps them. */
export function checkFile(file: SourceFile): readonly string[] {
  if (/\.(cc|h|c)$/.test(file.path)) return checkIncludes(file);
  const source = ts.createSourceFile(file.path, file.text, ts.ScriptTarget.Latest, true);
  const owner = packageRules.find((rule) => file.path.startsWith(`${rule.folder}/`));
  const isTest = /\.test\.ts$/.test(file.path);
  const found = owner && !isTest ? importsOf(source).flatMap((i) => checkImport(file.path, owner, i)) : [];
  const pure = file.text.startsWith(pureMark) || (owner && purePackages.includes(owner.name) && !isTest);
  return [...found, ...(pure ? checkPure(source) : [])];
}

interface Import {
  readonly specifier: string;
  readonly line: number;
}

function lineOf(source: ts.SourceFile, position: number): number {
  return source.getLineAndCharacterOfPosition(position).line + 1;
}

function importsOf(source: ts.SourceFile): readonly Import[] {
  const { importedFiles } = ts.preProcessFile(source.text, true, true);
  return importedFiles.map(({ fileName, pos }) => ({ specifier: fileName, line: lineOf(source, pos) }));
}

function checkImport(path: string, owner: PackageRule, { specifier, line }: Import): readonly string[] {
  const at = `${path}:${line}`;
  if (specifier.startsWith(".")) {
    const target = posix.join(posix.dirname(path), specifier);
    if (!target.startsWith(`${owner.folder}/`) && !owner.may.includes("*")) {
      return [`${at}: leaves ${owner.folder} by path ("${specifier}"): import the other package by its name`];
    }
    return checkOrchestratorPart(at, path, target);
  }
  const target = packageRules.find(({ name }) => specifier === name || specifier.startsWith(`${name}/`));
  if (!target || target === owner || owner.may.includes("*") || owner.may.includes(target.name)) return [];
  return [`${at}: ${owner.name} may not import ${target.name} (may: ${owner.may.join(", ") || "none of ours"})`];
}

function checkOrchestratorPart(at: string, path: string, target: string): readonly string[] {
  const [from, to] = [path, target].map((p) => /^services\/orchestrator\/([^/]+)\//.exec(p)?.[1]);
  if (from === undefined || to === undefined || from === to || sharedOrchestratorParts.includes(to)) return [];
  return [`${at}: orchestrator/${from} may not use orchestrator/${to} (shared: ${sharedOrchestratorParts.join(", ")})`];
}

const forbiddenNames = new Set(
  `Date performance process setTimeout setInterval setImmediate queueMicrotask fetch crypto console`.split(" "),
);

/** Type-only imports of Node's modules are no I/O; node:path has none either, nor state. */
const harmlessModules = new Set(["node:path", "node:assert"]);

function checkPure(source: ts.SourceFile): readonly string[] {
  const found: string[] = [];
  const report = (node: ts.Node, what: string) =>
    found.push(`${source.fileName}:${lineOf(source, node.getStart(source))}: a pure file uses ${what}`);
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
      const { text } = node.moduleSpecifier;
      const typeOnly = node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword;
      if (text.startsWith("node:") && !typeOnly && !harmlessModules.has(text)) report(node, text);
    } else if (node.kind === ts.SyntaxKind.AsyncKeyword) report(node, "async");
    else if (ts.isAwaitExpression(node)) report(node, "await");
    else if (ts.isPropertyAccessExpression(node) && node.getText(source) === "Math.random") report(node, "Math.random");
    else if (ts.isIdentifier(node) && forbiddenNames.has(node.text) && isReference(node)) report(node, node.text);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** Whether an identifier means the global of that name: not a property, member, parameter or variable called so. */
function isReference(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent) && parent.name === node) return false;
  if (ts.isQualifiedName(parent) && parent.right === node) return false;
  const declares = "name" in parent && parent.name === node;
  return !declares && !ts.isImportSpecifier(parent) && !ts.isBindingElement(parent) && !isShadowed(node);
}

/** Whether an enclosing function has a parameter of that name, or the file declares it. */
function isShadowed(node: ts.Identifier): boolean {
  for (let scope: ts.Node | undefined = node.parent; scope; scope = scope.parent) {
    if (ts.isFunctionLike(scope) && scope.parameters.some((p) => p.name.getText() === node.text)) return true;
    if ((ts.isSourceFile(scope) || ts.isBlock(scope)) && scope.statements.some((s) => declares(s, node.text)))
      return true;
  }
  return false;
}

function declares(statement: ts.Statement, name: string): boolean {
  if (ts.isFunctionDeclaration(statement)) return statement.name?.text === name;
  if (!ts.isVariableStatement(statement)) return false;
  return statement.declarationList.declarations.some((d) => d.name.getText() === name);
}

/** `native/FOLDER/…`: a quoted include names a header of its own folder or of one below it in the order of folders. */
function checkIncludes({ path, text }: SourceFile): readonly string[] {
  const folder = /^native\/([^/]+)\//.exec(path)?.[1];
  if (folder === undefined) return [];
  const may = nativeRules[folder];
  if (!may) return [`${path}:1: native/${folder} has no rule: add it to test/architecture/rules.ts`];
  if (may.includes("*") || /_test\.cc$/.test(path)) return [];
  return text.split("\n").flatMap((line, i) => {
    const header = /^\s*#\s*include\s+"([^"]+)"/.exec(line)?.[1];
    if (header === undefined) return [];
    const target = header.startsWith("../") ? posix.join(folder, header) : header;
    const to = target.includes("/") ? target.split("/")[0]! : folder;
    if (to === folder || may.includes(to) || !(to in nativeRules)) return [];
    return [`${path}:${i + 1}: native/${folder} may not include "${header}" (may: ${may.join(", ") || "none"})`];
  });
}
