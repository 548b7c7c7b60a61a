/** Save a response as a file; if the browser has a private file system, without holding it in memory. */
import { readBody } from "./api";

const FOLDER = "exports";
/** How long the page keeps its file: by then the browser has copied it to the user's downloads. */
const KEPT_MILLISECONDS = 10 * 60_000;

/** Whether this browser can stream a download to a file; over plain HTTP from another machine none can. */
export const streamsFiles: boolean =
  "storage" in navigator && "FileSystemFileHandle" in window && "createWritable" in FileSystemFileHandle.prototype;

/** Read a response to its end and give it to the browser's downloads. Throws if the response breaks off. */
export async function saveResponse(response: Response, name: string): Promise<void> {
  if (!streamsFiles || !response.body) {
    offerFile(await readBody(response.blob()), name);
    return;
  }
  const folder = await openFolder();
  const stored = `${Date.now()}-${name}`;
  const file = await folder.getFileHandle(stored, { create: true });
  try {
    await readBody(response.body.pipeTo(await file.createWritable()));
  } catch (error) {
    await folder.removeEntry(stored);
    throw error;
  }
  offerFile(await file.getFile(), name);
  setTimeout(() => void folder.removeEntry(stored), KEPT_MILLISECONDS);
}

/** Remove files that an earlier export left behind, for example because its tab was closed. */
export async function removeOldDownloads(): Promise<void> {
  if (!streamsFiles) return;
  const folder = await openFolder();
  const names: string[] = [];
  for await (const name of folder.keys()) names.push(name);
  const old = names.filter((name) => Number(name.split("-")[0]) < Date.now() - KEPT_MILLISECONDS);
  await Promise.all(old.map((name) => folder.removeEntry(name)));
}

async function openFolder(): Promise<FileSystemDirectoryHandle> {
  const root = await navigator.storage.getDirectory();
  return root.getDirectoryHandle(FOLDER, { create: true });
}

function offerFile(content: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => {
    URL.revokeObjectURL(link.href);
  }, 60_000);
}
