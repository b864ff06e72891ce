"""HTML pages as tests read them."""

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "input", "hr", "img"}


class Reader(HTMLParser):
    """Elements in the order in which they come, and whether they nest."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert tag == self.open.pop()

    def handle_data(self, text):
        if self.open[-1:] not in (["style"], ["script"], ["title"]):
            self.words.append(text)

    def all(self, *tags):
        return [attributes for tag, attributes in self.found if tag in tags]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())
