import { render } from "preact";
import { App } from "./app";
import { removeOldDownloads } from "./data/download";
import "./styles.css";

const root = document.getElementById("app");
if (root) render(<App />, root);
void removeOldDownloads();
