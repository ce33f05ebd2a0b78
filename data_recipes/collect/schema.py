"""The tables of a collection. `event` is the truth and is only ever added to; `ballot` and `item.taken` follow from it.

Triggers keep `item.taken` (people's counted ballots and live leases) equal to what it counts, so that no code path can
forget to. `assignment` is kept for good: side, strategy and probability of each choice; `lease` holds live claims only.
A page of every index that a vote touches goes to the log with it, so there are few: `lease` has a row a person at most or two
and needs none.
"""

VERSION = 1
APPLICATION_ID = 0x616C636F  # "alco", in the file's header: tells a collection from any other SQLite file

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE guideline (version INTEGER PRIMARY KEY, text TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE list (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, overlap INTEGER NOT NULL, choose TEXT NOT NULL,
    random_share REAL NOT NULL, repeats REAL NOT NULL, seed INTEGER NOT NULL, open INTEGER NOT NULL DEFAULT 1);
CREATE TABLE prompt (id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, messages TEXT NOT NULL);
CREATE TABLE response (
    id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, text TEXT NOT NULL, source TEXT, made TEXT NOT NULL);
CREATE TABLE annotator (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL, active INTEGER NOT NULL DEFAULT 1,
    asked INTEGER NOT NULL DEFAULT 1);
CREATE TABLE token (hash TEXT PRIMARY KEY, annotator INTEGER NOT NULL REFERENCES annotator, at REAL NOT NULL);
CREATE TABLE session (hash TEXT PRIMARY KEY, annotator INTEGER NOT NULL REFERENCES annotator, at REAL NOT NULL);
CREATE TABLE member (
    list INTEGER NOT NULL REFERENCES list, annotator INTEGER NOT NULL REFERENCES annotator, PRIMARY KEY (list, annotator));
CREATE TABLE item (
    id INTEGER PRIMARY KEY, list INTEGER NOT NULL REFERENCES list, kind TEXT NOT NULL,
    prompt INTEGER NOT NULL REFERENCES prompt, first INTEGER NOT NULL REFERENCES response,
    second INTEGER NOT NULL REFERENCES response, of INTEGER REFERENCES item, expected TEXT, why TEXT, needed INTEGER NOT NULL,
    rank INTEGER NOT NULL, stratum TEXT NOT NULL, disagreement REAL, gap REAL, words INTEGER NOT NULL, extra TEXT NOT NULL,
    origin TEXT NOT NULL, hash TEXT NOT NULL, taken INTEGER NOT NULL DEFAULT 0, UNIQUE (list, hash, kind));
CREATE INDEX item_open ON item (list, taken, rank) WHERE kind = 'normal' AND taken < needed;
CREATE INDEX item_special ON item (list, kind, rank) WHERE kind <> 'normal';
CREATE INDEX item_of ON item (of) WHERE of IS NOT NULL;
CREATE TABLE assignment (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, item INTEGER NOT NULL REFERENCES item,
    annotator INTEGER NOT NULL REFERENCES annotator, swapped INTEGER NOT NULL, strategy TEXT NOT NULL,
    probability REAL NOT NULL, counted INTEGER NOT NULL, settles INTEGER NOT NULL DEFAULT 0, at REAL NOT NULL);
CREATE INDEX assignment_item ON assignment (item, annotator);
CREATE INDEX assignment_annotator ON assignment (annotator);
CREATE TABLE lease (
    assignment INTEGER PRIMARY KEY REFERENCES assignment, item INTEGER NOT NULL REFERENCES item,
    annotator INTEGER NOT NULL REFERENCES annotator, counted INTEGER NOT NULL, expires REAL NOT NULL, opened INTEGER NOT NULL);
CREATE TABLE event (
    seq INTEGER PRIMARY KEY, annotator INTEGER NOT NULL REFERENCES annotator, client_id TEXT NOT NULL, kind TEXT NOT NULL,
    item INTEGER NOT NULL REFERENCES item, assignment INTEGER REFERENCES assignment, swapped INTEGER, body TEXT NOT NULL,
    visible_ms INTEGER NOT NULL, guideline INTEGER NOT NULL, at REAL NOT NULL, fingerprint TEXT NOT NULL, reply TEXT NOT NULL,
    undoes INTEGER REFERENCES event, UNIQUE (annotator, client_id));
CREATE UNIQUE INDEX event_undoes ON event (undoes) WHERE undoes IS NOT NULL;
CREATE INDEX event_item ON event (item, annotator);
CREATE TABLE ballot (
    assignment INTEGER PRIMARY KEY REFERENCES assignment, item INTEGER NOT NULL REFERENCES item,
    annotator INTEGER NOT NULL REFERENCES annotator, event INTEGER NOT NULL UNIQUE REFERENCES event, kind TEXT NOT NULL,
    counted INTEGER NOT NULL, settles INTEGER NOT NULL, UNIQUE (item, annotator, settles));
CREATE INDEX ballot_annotator ON ballot (annotator, event);
CREATE TRIGGER lease_taken AFTER INSERT ON lease WHEN NEW.counted BEGIN
    UPDATE item SET taken = taken + 1 WHERE id = NEW.item; END;
CREATE TRIGGER lease_given AFTER DELETE ON lease WHEN OLD.counted BEGIN
    UPDATE item SET taken = taken - 1 WHERE id = OLD.item; END;
CREATE TRIGGER ballot_cast AFTER INSERT ON ballot WHEN NEW.counted BEGIN
    UPDATE item SET taken = taken + 1 WHERE id = NEW.item; END;
CREATE TRIGGER ballot_withdrawn AFTER DELETE ON ballot WHEN OLD.counted BEGIN
    UPDATE item SET taken = taken - 1 WHERE id = OLD.item; END;
CREATE TRIGGER ballot_counted AFTER UPDATE OF counted ON ballot WHEN NEW.counted <> OLD.counted BEGIN
    UPDATE item SET taken = taken + NEW.counted - OLD.counted WHERE id = NEW.item; END;
CREATE TRIGGER event_stays BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END;
"""
