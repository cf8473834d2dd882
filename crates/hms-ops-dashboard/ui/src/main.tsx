// Starts the page.
import { render } from "preact";
import "uplot/dist/uPlot.min.css";
import "./styles/tokens.css";
import "./styles/page.css";
import "./styles/panels.css";
import "./styles/trace.css";
import { App } from "./app";
import { startClock } from "./clock";
import { followLocation } from "./location";
import { startTheme } from "./theme";

startTheme();
startClock();
followLocation();
render(<App />, document.getElementById("app")!);
