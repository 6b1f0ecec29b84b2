"""Parts of data sets, and data sets kept in memory."""

from jaxpart.data.critters import Critters
from jaxpart.data.subset import Classes, InMemory, Subset, random_subset


def test_subset_has_the_chosen_images_and_a_version_of_its_own():
    source = Critters("train", 9, image_size=32)
    some = Subset(source, [7, 2])
    assert [some.annotation(i).id for i in range(len(some))] == ["train/000007", "train/000002"]
    assert some[0].image == source[7].image
    versions = {source.info.version, some.info.version, Subset(source, [2, 7]).info.version}
    assert len(versions) == 3
    assert some.info.version == Subset(source, [7, 2]).info.version


def test_random_subsets_are_nested_and_never_empty():
    source = Critters("train", 50, image_size=32)

    def ids(count, seed=0):
        some = random_subset(source, count, seed)
        return {some.annotation(i).id for i in range(len(some))}

    assert len(ids(0)) == 1
    assert len(ids(80)) == 50
    assert ids(0) < ids(5) < ids(20)
    assert ids(20) != ids(20, seed=1)


def test_classes_are_numbered_anew():
    source = Critters("train", 30, image_size=32)
    labels = [source.annotation(i).label for i in range(30)]
    chosen = [labels[4], labels[2]]
    some = Classes(source, chosen)
    expected = [i for i, label in enumerate(labels) if label in chosen]
    assert [some.annotation(i).id for i in range(len(some))] == [
        source.annotation(i).id for i in expected
    ]
    assert [some[i].annotation.label for i in range(len(some))] == [
        chosen.index(labels[i]) for i in expected
    ]
    assert some.info.class_names == tuple(source.info.class_names[label] for label in chosen)
    assert some.info.version != source.info.version


def test_kept_images_are_read_once():
    reads = []

    class Counting(Critters):
        def __getitem__(self, index):
            reads.append(index)
            return super().__getitem__(index)

    kept = InMemory(Counting("train", 3, image_size=32))
    assert kept[1] is kept[1]
    assert reads == [1]
    assert (len(kept), kept.annotation(2).id) == (3, "train/000002")
