"""Every option that belongs to no component, with its default and its meaning."""

from yacs.config import CfgNode


def defaults() -> CfgNode:
    """The options that belong to no component, each with its meaning."""
    cfg = CfgNode()
    cfg.OUTPUT_DIR = ""  # "": a new folder under output/ for every run
    cfg.SEED = 1  # of every random stream below that has no seed of its own
    cfg.USE_CUDA = True  # use the GPU if there is one
    cfg.PLUGINS = ()  # dotted modules or .py files that register classes of your own

    cfg.INPUT = CfgNode()
    cfg.INPUT.SEED = -1  # of augmentation; -1: SEED
    cfg.INPUT.SIZE = ()  # (height, width); (): the backbone's own
    cfg.INPUT.INTERPOLATION = ""  # bicubic, bilinear or nearest; "": the backbone's own
    cfg.INPUT.TRANSFORMS = ("random_resized_crop", "random_flip", "normalize")
    cfg.INPUT.RRCROP_SCALE = (0.08, 1.0)  # share of the picture's area that a random crop keeps
    cfg.INPUT.PIXEL_MEAN = ()  # (): the backbone's own
    cfg.INPUT.PIXEL_STD = ()
    # What decodes JPEG files and resizes: pil, as CLIP and the official code have it, or
    # torchvision, faster, whose pixels differ by at most one level of 255
    cfg.INPUT.BACKEND = "pil"
    # Views of each training picture, with which the epochs take turns; 0: another one each epoch.
    # Their features without prompts are computed once, but few views are not what augmentation is.
    cfg.INPUT.VIEWS = 0

    cfg.DATASET = CfgNode()
    cfg.DATASET.ROOT = "data"  # the folder that holds the datasets' folders
    cfg.DATASET.NAME = ""
    cfg.DATASET.SEED = -1  # of the few-shot draw; -1: SEED
    cfg.DATASET.NUM_SHOTS = -1  # training images a class; -1: all
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"  # all, base (first half of the labels) or new

    cfg.DATALOADER = CfgNode()
    cfg.DATALOADER.SEED = -1  # of the order of the training images; -1: SEED
    cfg.DATALOADER.NUM_WORKERS = 0  # processes that read images; 0: the main one does
    cfg.DATALOADER.MEMORY = 1.0  # gigabytes of decoded training pictures that stay in memory
    cfg.DATALOADER.TRAIN_X = CfgNode()
    cfg.DATALOADER.TRAIN_X.BATCH_SIZE = 32
    cfg.DATALOADER.TEST = CfgNode()
    cfg.DATALOADER.TEST.BATCH_SIZE = 100

    cfg.MODEL = CfgNode()
    cfg.MODEL.BACKBONE = CfgNode()
    cfg.MODEL.BACKBONE.NAME = "ViT-B/16"  # CoOp's or open_clip's name, or "tiny"
    cfg.MODEL.BACKBONE.PRETRAINED = "openai"  # open_clip's tag, a file, or "" for random weights
    cfg.MODEL.PRECISION = "fp32"  # inside CLIP's towers: fp32, bf16 or fp16; prompts stay fp32
    # Gigabytes that each tower may keep for gradients; beyond, it computes in chunks, and again.
    cfg.MODEL.MEMORY_LIMIT = 4.0
    # Products with frozen weights by oneDNN, on the CPU in fp32: on, off, or auto, where it is
    # known to be faster. Weights that meet few tokens at once are copied, with their transposes.
    cfg.MODEL.PACKED = "auto"

    cfg.CACHE = CfgNode()
    # A folder of features that any run may use, of test pictures and hand-written sentences above
    # all; "": none. A feature is found only where all that it depends on is the same. One run on
    # several processes, whose batches are divided, does without.
    cfg.CACHE.DIR = ""
    cfg.CACHE.LIMIT = 10.0  # gigabytes that it may take; the least recently used go first

    cfg.OPTIM = CfgNode()
    cfg.OPTIM.NAME = "sgd"  # sgd or adamw
    cfg.OPTIM.LR = 0.002
    cfg.OPTIM.MOMENTUM = 0.9
    cfg.OPTIM.WEIGHT_DECAY = 5e-4
    cfg.OPTIM.SGD_NESTEROV = False
    cfg.OPTIM.ADAM_BETA1 = 0.9
    cfg.OPTIM.ADAM_BETA2 = 0.999
    cfg.OPTIM.LR_SCHEDULER = "cosine"  # cosine or constant, one value an epoch
    cfg.OPTIM.MAX_EPOCH = 10
    cfg.OPTIM.WARMUP_EPOCH = 1  # epochs at WARMUP_CONS_LR before the schedule starts
    cfg.OPTIM.WARMUP_CONS_LR = 1e-5

    cfg.TRAIN = CfgNode()
    cfg.TRAIN.PRINT_FREQ = 10  # batches between two progress lines
    cfg.TRAIN.CHECKPOINT_FREQ = 0  # keep the prompts of every so many epochs; 0: only the last

    cfg.TEST = CfgNode()
    cfg.TEST.SPLIT = "test"
    # Class sets to report: all, base, new and generalized (all at once, the images of base and of
    # new classes apart); (): the trained ones
    cfg.TEST.CLASSES = ()
    cfg.TEST.MAX_IMAGES = 0  # evaluate on a class-balanced sample of so many images; 0: all
    cfg.TEST.ZERO_SHOT = True  # report CLIP without prompts beside the trained ones
    cfg.TEST.TENSORBOARD = ()  # draw there, of each class set: confusion, embeddings
    cfg.TEST.TEMPLATES = "coop"  # the dataset's hand-written sentence used for that

    cfg.PROMPT = CfgNode({"NAME": ""})
    cfg.PROMPT.SEED = -1  # of the prompts' random start; -1: SEED

    cfg.TRAINER = CfgNode({"NAME": ""})
    cfg.TRAINER.SEED = -1  # of what the method draws, its own networks' start too; -1: SEED
    return cfg
