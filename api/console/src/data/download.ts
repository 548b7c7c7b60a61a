/** Save a response as a file, without holding it in the page's memory where the browser has files for pages. */

const FOLDER = "exports";
/** After this long a browser has copied the file to where its user keeps downloads. */
const KEPT_MILLISECONDS = 10 * 60_000;

/** Whether this browser streams a download into a file; over plain HTTP from another machine none does. */
export const streamsFiles: boolean =
  "storage" in navigator && "FileSystemFileHandle" in window && "createWritable" in FileSystemFileHandle.prototype;

/** Read a response to its end and hand it to the browser's downloads. Throws where it breaks off. */
export async function saveResponse(response: Response, name: string): Promise<void> {
  if (!streamsFiles || !response.body) {
    offerFile(await response.blob(), name);
    return;
  }
  const folder = await openFolder();
  const stored = `${Date.now()}-${name}`;
  const file = await folder.getFileHandle(stored, { create: true });
  try {
    await response.body.pipeTo(await file.createWritable());
  } catch (error) {
    await folder.removeEntry(stored);
    throw error;
  }
  offerFile(await file.getFile(), name);
  setTimeout(() => void folder.removeEntry(stored), KEPT_MILLISECONDS);
}

/** Remove the files of exports that an earlier page left, for example because its tab was closed. */
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
