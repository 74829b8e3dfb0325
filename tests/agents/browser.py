"""A headless Chromium that opens a page, says what is written on it, and takes a picture."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TEXT = """
(function walk(node) {
  let text = node.nodeType === 3 ? node.textContent + " " : "";
  if (["STYLE", "SCRIPT", "TEMPLATE"].includes(node.nodeName)) return "";
  for (const child of node.shadowRoot ? [node.shadowRoot, ...node.childNodes] : node.childNodes) text += walk(child);
  return text;
})(document.body).replace(/\\s+/g, " ")
"""
"""All text of a page, that of web components included."""


class Page:
    """Chromium's debugging protocol over two pipes: JSON messages that end with a zero byte."""

    def __init__(self, write, read):
        self._write, self._read, self._numbers, self._rest = write, read, itertools.count(1), b""
        (target,) = [each for each in self.ask("Target.getTargets")["targetInfos"] if each["type"] == "page"]
        self._session = {}
        found = self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = {"sessionId": found["sessionId"]}

    def ask(self, method, **params):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params, **getattr(self, "_session", {})}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                part = os.read(self._read, 1 << 20)
                if not part:
                    raise ConnectionError("Chromium has closed the pipe")
                self._rest += part
            line, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(line)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def text(self):
        return self.ask("Runtime.evaluate", expression=TEXT)["result"].get("value", "")

    def wait_for(self, *words, seconds=60.0):
        """The page's text once it holds all the words."""
        end = time.monotonic() + seconds
        while True:
            text = self.text()
            missing = [word for word in words if word not in text]
            if not missing:
                return text
            assert time.monotonic() < end, f"not on the page: {missing}; on it: {text[:2000]}"
            time.sleep(0.3)

    def picture(self, path):
        data = self.ask("Page.captureScreenshot", format="png")["data"]
        Path(path).write_bytes(base64.b64decode(data))


@contextmanager
def opened(url, profile):
    """A page of 1600 x 1400 pixels in a browser of its own."""
    (their_read, our_write), (our_read, their_write) = os.pipe(), os.pipe()
    flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--remote-debugging-pipe",
    ]
    command = [CHROMIUM, *flags, "--window-size=1600,1400", f"--user-data-dir={profile}", url]
    shell = ["bash", "-c", f'exec "$@" 3<&{their_read} 4>&{their_write}', "bash", *command]
    process = subprocess.Popen(shell, pass_fds=(their_read, their_write), stderr=subprocess.DEVNULL)
    os.close(their_read)
    os.close(their_write)
    try:
        yield Page(our_write, our_read)
    finally:
        process.terminate()
        process.wait(timeout=20)
        os.close(our_write)
        os.close(our_read)
