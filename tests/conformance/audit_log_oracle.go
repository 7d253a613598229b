// An independent reader of an audit log: signed notes and tree by golang.org/x/mod/sumdb, which is not ours. What it
// lacks (ECDSA notes, timestamped cosignatures, the paths of tlog-tiles) is written here by the C2SP specifications.
//
//  oracle LOG-FOLDER LOG-KEY.der WITNESS-NAME WITNESS-KEY-HEX < questions.json > answers.json
package main

import (
    "bytes"
    "crypto/ecdsa"
    "crypto/ed25519"
    "crypto/sha256"
    "crypto/x509"
    "encoding/base64"
    "encoding/binary"
    "encoding/hex"
    "encoding/json"
    "fmt"
    "os"
    "path/filepath"
    "strconv"
    "strings"

    "golang.org/x/mod/sumdb/note"
    "golang.org/x/mod/sumdb/tlog"
)

func check(err error, what string) {
    if err != nil {
        fmt.Fprintln(os.Stderr, what+":", err)
        os.Exit(1)
    }
}

type ecdsaVerifier struct {
    name string
    hash uint32
    key  *ecdsa.PublicKey
}

func (v ecdsaVerifier) Name() string    { return v.name }
func (v ecdsaVerifier) KeyHash() uint32 { return v.hash }
func (v ecdsaVerifier) Verify(message, signature []byte) bool {
    digest := sha256.Sum256(message)
    return ecdsa.VerifyASN1(v.key, digest[:], signature)
}

type cosignatureVerifier struct {
    name string
    key  ed25519.PublicKey
}

func (v cosignatureVerifier) Name() string { return v.name }
func (v cosignatureVerifier) KeyHash() uint32 {
    sum := sha256.Sum256(append([]byte(v.name+"\n\x04"), v.key...))
    return binary.BigEndian.Uint32(sum[:])
}
func (v cosignatureVerifier) Verify(message, signature []byte) bool {
    if len(signature) != 72 {
        return false
    }
    header := fmt.Sprintf("cosignature/v1\ntime %d\n", binary.BigEndian.Uint64(signature))
    return ed25519.Verify(v.key, append([]byte(header), message...), signature[8:])
}

type folder string

func (f folder) Height() int                     { return 8 }
func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}
func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
    var found [][]byte
    for _, tile := range tiles {
        path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
        data, err := os.ReadFile(filepath.Join(string(f), path))
        if err != nil {
            return nil, err
        }
        found = append(found, data)
    }
    return found, nil
}

type questions struct {
    Inclusion []struct {
        Index  int64
        Entry  string
        Hashes []string
    }
    Consistency []struct {
        Old    int64
        Root   string
        Hashes []string
    }
}

func hashOf(text string) (hash tlog.Hash) {
    raw, err := hex.DecodeString(text)
    check(err, "hash")
    copy(hash[:], raw)
    return hash
}

func hashesOf(texts []string) (hashes []tlog.Hash) {
    for _, text := range texts {
        hashes = append(hashes, hashOf(text))
    }
    return hashes
}

func bundle(root string, number, width int64) []byte {
    tile := tlog.Tile{H: 8, L: 0, N: number, W: int(width)}
    data, err := os.ReadFile(filepath.Join(root, strings.Replace(tile.Path(), "tile/8/0/", "tile/entries/", 1)))
    check(err, "bundle")
    return data
}

func main() {
    root := os.Args[1]
    der, err := os.ReadFile(os.Args[2])
    check(err, "key")
    public, err := x509.ParsePKIXPublicKey(der)
    check(err, "key")
    witness, err := hex.DecodeString(os.Args[4])
    check(err, "witness")
    message, err := os.ReadFile(filepath.Join(root, "checkpoint"))
    check(err, "checkpoint")
    lines := strings.SplitN(string(message), "\n", 4)
    sum := sha256.Sum256(der)
    opened, err := note.Open(message, note.VerifierList(
        ecdsaVerifier{lines[0], binary.BigEndian.Uint32(sum[:]), public.(*ecdsa.PublicKey)},
        cosignatureVerifier{os.Args[3], witness}))
    check(err, "note")
    size, err := strconv.ParseInt(lines[1], 10, 64)
    check(err, "size")
    rootHash, err := base64.StdEncoding.DecodeString(lines[2])
    check(err, "root")
    tree := tlog.Tree{N: size}
    copy(tree.Hash[:], rootHash)

    reader := tlog.TileHashReader(tree, folder(root))
    computed, err := tlog.TreeHash(size, reader)
    check(err, "tree")
    entries := int64(0)
    for number := int64(0); number*256 < size; number++ {
        width := size - number*256
        if width > 256 {
            width = 256
        }
        data := bundle(root, number, width)
        for len(data) > 0 {
            length := int(binary.BigEndian.Uint16(data))
            stored, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, entries)})
            check(err, "leaf")
            if stored[0] != tlog.RecordHash(data[2:2+length]) {
                check(fmt.Errorf("entry %d", entries), "entry is not the leaf")
            }
            data, entries = data[2+length:], entries+1
        }
    }

    var asked questions
    check(json.NewDecoder(os.Stdin).Decode(&asked), "questions")
    for _, item := range asked.Inclusion {
        proof := tlog.RecordProof(hashesOf(item.Hashes))
        check(tlog.CheckRecord(proof, size, tree.Hash, item.Index, tlog.RecordHash([]byte(item.Entry))), "inclusion")
        own, err := tlog.ProveRecord(size, item.Index, reader)
        check(err, "own inclusion")
        if fmt.Sprint(own) != fmt.Sprint(proof) {
            check(fmt.Errorf("index %d", item.Index), "another inclusion proof")
        }
    }
    for _, item := range asked.Consistency {
        proof := tlog.TreeProof(hashesOf(item.Hashes))
        check(tlog.CheckTree(proof, size, tree.Hash, item.Old, hashOf(item.Root)), "consistency")
        own, err := tlog.ProveTree(size, item.Old, reader)
        check(err, "own consistency")
        if fmt.Sprint(own) != fmt.Sprint(proof) {
            check(fmt.Errorf("size %d", item.Old), "another consistency proof")
        }
    }
    names := []string{}
    for _, signature := range opened.Sigs {
        names = append(names, signature.Name)
    }
    var out bytes.Buffer
    check(json.NewEncoder(&out).Encode(map[string]interface{}{
        "origin": lines[0], "size": size, "entries": entries, "root": hex.EncodeToString(computed[:]),
        "signed_by": names, "unverified": len(opened.UnverifiedSigs),
    }), "answer")
    os.Stdout.Write(out.Bytes())
}
