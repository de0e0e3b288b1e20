// Shows the OpenAPI document as a page. All content comes from /openapi.json.
import { ask, make } from "./client.js";

const METHODS = ["get", "post", "put", "delete", "head"];
const TITLES = {
  jobs: "Jobs",
  openai: "OpenAI's speech API",
  voices: "Voices",
  pronunciations: "Pronunciations",
  audio: "Audio",
  server: "The server",
};
let schemas = {};

const resolve = (schema) => (schema.$ref ? schemas[schema.$ref.split("/").pop()] : schema);

/** Name a value's type in one or two words. */
function kind(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.join(" | ");
  const options = schema.anyOf || schema.oneOf;
  if (options) return options.map(kind).filter((word) => word !== "null").join(" or ");
  if (schema.type === "array") return schema.items?.$ref || schema.items?.type ? `list of ${kind(schema.items)}` : "list";
  return schema.type || "any JSON";
}

/** Make text in which `code` in backticks becomes a code element. */
function prose(words, className) {
  const parts = words.split(/`([^`]+)`/).map((part, index) => (index % 2 ? make("code", {}, part) : part));
  return make("span", { className }, ...parts);
}

function bounds(schema) {
  const said = [];
  if (schema.minimum !== undefined) said.push(`${schema.minimum} to ${schema.maximum ?? "…"}`);
  if (schema.maxLength !== undefined) said.push(`at most ${schema.maxLength} characters`);
  if (schema.default !== undefined && schema.default !== null && typeof schema.default !== "object" && schema.default !== "")
    said.push(`default ${schema.default}`);
  return said.join(", ");
}

/** Return the object schema inside a field's schema, or null. */
function inner(schema) {
  const options = [schema, schema.items, ...(schema.anyOf || []), ...(schema.oneOf || [])].filter(Boolean);
  const found = options.find((option) => option.$ref);
  return found ? resolve(found) : null;
}

/** Parse the `Args:` of a docstring into a map from field to description. */
function notes(description = "") {
  const found = {};
  const [, list = ""] = description.split(/\n\s*Args:\n/);
  for (const line of list.split(/\n(?=\s{4,8}\w+: )/)) {
    const [, name, words] = /^\s*(\w+): ([\s\S]+)$/.exec(line) || [];
    if (name) found[name] = words.replace(/\s+/g, " ").trim();
  }
  return found;
}

function fields(schema, depth = 0) {
  const list = make("ul", { className: "fields" });
  const said = notes(schema.description);
  for (const [name, field] of Object.entries(schema.properties || {})) {
    const words = [kind(field), bounds(field), schema.required?.includes(name) ? "required" : ""].filter(Boolean).join(", ");
    const item = make("li", {}, make("code", {}, name), " ", make("span", { className: "type" }, words));
    const note = field.description || said[name];
    if (note) item.append(prose(` · ${note}`, "note"));
    const below = inner(field);
    if (below?.properties && depth < 3) item.append(fields(below, depth + 1));
    list.append(item);
  }
  return list;
}

function parameters(operation) {
  const list = make("ul", { className: "fields" });
  for (const parameter of operation.parameters || []) {
    const words = [kind(parameter.schema), bounds(parameter.schema), parameter.in].filter(Boolean).join(", ");
    const item = make("li", {}, make("code", {}, parameter.name), " ", make("span", { className: "type" }, words));
    if (parameter.description) item.append(prose(` · ${parameter.description}`, "note"));
    list.append(item);
  }
  return list;
}

function responses(operation) {
  const list = make("ul", { className: "fields" });
  for (const [status, response] of Object.entries(operation.responses).sort()) {
    const item = make("li", {}, make("span", { className: "status" }, status), prose(` ${response.description}`, "note"));
    const content = Object.values(response.content || {})[0];
    const schema = status === "200" && content && inner(content.schema);
    if (schema?.properties) item.append(fields(schema));
    list.append(item);
  }
  return list;
}

function card({ method, path, operation, also }) {
  const body = make("div", { className: "body" });
  const part = (title, content) => content.childNodes.length && body.append(make("h3", {}, title), content);
  if (also.length) part("Also at", make("div", {}, ...also.flatMap((a) => [make("code", {}, a), " "])));
  part("Parameters", parameters(operation));
  const sent = Object.values(operation.requestBody?.content || {})[0]?.schema;
  if (sent) part("Body", fields(resolve(sent)));
  part("Answers", responses(operation));
  return make(
    "details",
    { className: "card", id: operation.operationId },
    make(
      "summary",
      {},
      make("span", { className: "method" }, method.toUpperCase()),
      make("code", {}, path),
      prose(operation.summary, "what"),
    ),
    body,
  );
}

/** Group operations by tag. An operation that also exists without an endpoint, or by POST or HEAD, is shown once. */
function grouped(document_) {
  const byId = new Map();
  const groups = new Map();
  const all = Object.entries(document_.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({ method, path, operation: item[method], also: [] })),
  );
  for (const entry of all) byId.set(entry.operation.operationId, entry);
  for (const entry of all) {
    const id = entry.operation.operationId;
    const original = byId.get(id.replace(/(Default)?(Post|Head)?$/, ""));
    if (original && original !== entry) {
      original.also.push(`${entry.method.toUpperCase()} ${entry.path}`);
      continue;
    }
    const tag = entry.operation.tags?.at(-1) || "server"; // the last tag is the most specific: "jobs, voices"
    groups.set(tag, [...(groups.get(tag) || []), entry]);
  }
  return groups;
}

async function show() {
  const place = document.getElementById("operations");
  const described = await ask("/openapi.json");
  schemas = described.components.schemas;
  const groups = grouped(described);
  place.replaceChildren();
  for (const tag of new Set([...Object.keys(TITLES).filter((name) => groups.has(name)), ...groups.keys()])) {
    place.append(make("h2", {}, TITLES[tag] || tag), ...groups.get(tag).map(card));
  }
  const wanted = document.getElementById(location.hash.slice(1));
  if (wanted) {
    wanted.open = true;
    wanted.scrollIntoView();
  }
}

show().catch((error) => {
  document.getElementById("operations").replaceChildren(make("p", { className: "error", role: "alert" }, error.message));
});
