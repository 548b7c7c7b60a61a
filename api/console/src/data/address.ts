/** The address of a page: path and parameters, in the fragment of the URL (after `#`), which browsers do not send. */
import { useEffect, useState } from "preact/hooks";

export interface Address {
  path: string[];
  query: URLSearchParams;
}

export function parseAddress(hash: string): Address {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  return { path: path.split("/").filter(Boolean).map(decodePart), query: new URLSearchParams(query) };
}

/** Decode a part of the address; one that is not percent-encoded correctly stays as it is. */
export function decodePart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

type Parameters = Record<string, string | null | undefined>;

/** Build the address of a page; it keeps the organisation that a super-admin chose (`org`) from the present address. */
export function buildAddress(path: string[], parameters: Parameters | URLSearchParams = {}): string {
  const query = new URLSearchParams();
  const entries = parameters instanceof URLSearchParams ? [...parameters] : Object.entries(parameters);
  for (const [name, value] of entries) if (value) query.append(name, value);
  const org = parseAddress(location.hash).query.get("org");
  if (org && !query.has("org")) query.set("org", org);
  if (query.get("org") === "all") query.delete("org");
  const text = query.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

export function navigate(address: string, options: { replace?: boolean } = {}): void {
  if (options.replace) {
    history.replaceState(null, "", address);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else {
    location.hash = address;
  }
}

/** Return the present address; the component is rendered again when it changes. */
export function useAddress(): Address {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const update = (): void => {
      setHash(location.hash);
    };
    addEventListener("hashchange", update);
    update(); // the effects of children ran before this one, and may have navigated
    return () => {
      removeEventListener("hashchange", update);
    };
  }, []);
  return parseAddress(hash);
}
