// Unpacks the browser into the folder for temporary files, once, and prints where its program lies.
import chromium from "@sparticuz/chromium";

process.stdout.write(await chromium.executablePath());
