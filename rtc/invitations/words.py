"""The words of short codes: everyday English words that people can read out, hear and type without mixing them up.

The list is our own. `tests/invitations/test_words.py` keeps its rules: 1024 words of four to eight letters a-z; any two
differ in three letters or more, in how they sound, and within their first four letters.

Rule: programs of two versions must know the same words. A word is never removed; the list is never made longer.
"""

WORDS = tuple(
    """
    abacus absorb account acid acorn acrobat adapter address admiral advice aerobics agenda airmail airship alarm
    alchemy algebra alien almanac almond alphabet alpine altitude amateur amazing ambition amethyst ammonia amulet
    anagram anatomy anemone annual antenna antler appetite apple apricot apron aquatic archer arctic arrival artist
    ascent asteroid athlete atlas audience author autumn avatar avenue avocado backpack bagel ballroom bamboo
    bandage banjo barber barista basement bathtub beacon beanbag beauty bedroom bedtime beehive beeswax believe
    benefit bicycle biplane birthday biscuit bison blender bonfire bonus bookcase bottle bouncer bouquet boutique
    bracelet breath brick bridge bristle broad brochure broker bronze brush buckle buffet building bulletin bungalow
    button buzzer cabbage cabinet cactus cadet caffeine camera candid canopy canteen canyon capacity captain caravan
    caribou cartoon cascade cashew cassette castle casual catapult catfish cement centaur ceramic ceremony chalk
    chamber channel charity checkers cheddar cheese chef chemist chestnut chicken chimney chipmunk chisel chorus
    cicada cinema cinnamon circus citizen classic cleaner cliff climate clinic closet cloudy clutch coach cobalt
    cockatoo coffee colander college column comfort comma compact concert confetti congress consul control cookie
    copilot cosmos costume cottage coupon cover cradle credit crepe crisp crochet crossing crown crystal cube
    cucumber cuisine culture cupboard cupcake curious cursor custard cutlery cyclist daffodil daisy dancer database
    decade decimal decoy deep defender degree delta deluxe density dentist desktop diagonal diamond diesel digit
    dinghy diploma direct discover district divide doctor dollar dolphin domestic domino donkey doorway dorm double
    downtown draft dragon driver drizzle duckling dulcimer dustpan duty dynamo earring eclair eclipse editor
    eggplant eggshell electron elephant elevator embassy emblem emerald enamel encore energy engine english engrave
    enigma enjoy ensemble envelope enzyme episode equal equinox eraser errand essence estate ethanol europe evening
    evidence exact example exhibit expert exporter express extra eyebrow eyeglass eyelid eyesight fabric falafel
    falcon famous fancy farmland fastener feedback fern ferret festival fiction fiddle fiesta figure filament finish
    firewood fishpond fitness flagpole flamingo fleece flipbook fluffy fluid flyer foghorn foliage footpath forest
    forklift formula fortune fossil foundry foxtrot fragile frame freckle freedom french frisbee fritter frog
    frontier frozen frying fusion galaxy gallop garage garden garlic gasoline gazette gearbox gecko gelatin generous
    genius gentle geometry gesture geyser gigantic ginseng giraffe glass gleam glider global gnome goblin goldfish
    gourmet gradient grammar granite graph grill grocery groove grotto ground guinea guitar gymnast hammock handbag
    harness hatchet headband hedgehog height helium helper heritage hexagon hibiscus highway hiking hinge hologram
    homework hood hornet hotel house human husky hydrant hyphen icebox igloo igneous iguana illusion imagine immense
    impala import impulse incline incoming indigo indoor industry infinity inflate inkwell insect insight insole
    instant integer invite iodine irrigate island item ivory jacket jaguar jamboree jargon jasmine jazz jersey
    jetlag jetty jigsaw jogger joint jolly journal joystick jubilee jukebox jumbo junction jungle junior jupiter
    kangaroo karaoke kerosene ketchup keyboard keynote kimono kindness kinetic kingdom kiosk kitchen kiwi kneecap
    knitting koala lacrosse ladybug lagoon lamp landmark language laptop lasagna launch laurel lavender layout
    leaflet league leapfrog leather ledger legend lemming lemon length lettuce liberty lifetime lilac limerick
    linden linguist liquid litmus lizard loader lobster locust logbook lollipop longboat lookout lounge lovely
    luggage lullaby lunar luxury lyrics macaw mackerel magazine magma magnet magpie mailbox majesty major makeup
    manager mandarin marathon marina marvel marzipan matador matrix mattress maximum meatball mechanic meeting
    megabyte melody mercury message midday midnight milk millet mimosa mineral minibus minute mirror mixture mobile
    modern molasses momentum monarch mongoose monitor monsoon monument moped morning mortar mothball motion mountain
    mudguard muesli muffin mulch multiple museum mushroom music mustang mutual mystery nacho napkin narrow nature
    nautical navy nearby nebula necklace nectar neptune network neutron nickel nimbus nitrogen nobility noodle
    normal north notation notebook nugget numeric nursery nutrient nylon oasis oatmeal object oblong oboe observer
    occasion ocean octave octopus odyssey office offshore oilcan olive olympic omega opinion opossum optimist orange
    orbit orca orchid ordinary organic origin oriole ornate osprey ostrich otter outback outdoor outlet outpost
    overcoat oxygen pacific package padlock palace pamphlet pancake panorama papaya paper paradox parsley partner
    passport pastry patrol pattern paving peacock pebble pecan pedestal peephole pencil pendulum penguin pennant
    perfect period permit pharmacy pheasant physics piano piccolo picnic pigeon pigment pigtail pilgrim pinball
    pinecone pioneer pirate pivot pixel pizza planet plasma platinum plumage plywood pollen polygon poncho ponytail
    popcorn porridge portable position possible postbox potato powerful prefix premium pretzel prickly primary
    product profile propane protein proverb pudding puffball pumpkin punctual purchase puzzle pyramid python quantum
    quarry quilt quince quota rabbit raccoon radio rafter rainbow raisin rapids rebound receiver recipe recorder
    reduce redwood refresh region regular reindeer remedy remote renewal replica request rescue resident resort
    respect return reverse reward rhino rhubarb rhythm ribbon rickshaw risotto roadmap rodent romance rooftop
    rosebud routine rowboat rowing rucksack ruffle rugby runway saffron sailboat salad salute sandwich sapphire
    sardine savanna sawdust scanner scenic school scooter scratch screen scribble scrub seafood seagull search
    seaside seaweed select semester seminar sensible sentence service sesame session shadow shampoo shape shield
    shoulder shower shrimp shuttle sibling sidewalk signal silence silicon silver simple sincere sketch skylark
    slalom sleepy slipper slogan smooth snail snapshot sneaker sneeze snorkel snow soccer social sodium software
    sonata soprano source souvenir spatial species sphere spinach spirit splash splendid spring spruce square squeak
    stallion standard star static steeple sterling sticker stone storage strategy stream stripe strudel studio
    sturdy stylish subtitle suburb success sudden suitcase sultana summer sunbeam sunrise supply surface surgeon
    sushi swallow swift swivel sycamore symmetry symphony syntax system table tadpole taffy talent tandem tapestry
    target tassel taxi teacup teaspoon teddy tempura tennis terminal terrace textile thermos thimble thorough
    thought thunder tiger tiny tiptoe tissue toast toddler together toggle tomorrow tonight toolbox topic topping
    tortoise tourist township tractor traffic train tranquil trapeze travel treasure treetop tremor triangle tribute
    trilogy trombone trophy trout trumpet trunk tugboat tulip tundra tunnel turban turkey turtle tuxedo tweezers
    twilight typical umbrella uniform unique unit universe unlock upbeat update upgrade uplift upstairs uptown
    utensil vacation vaccine vacuum valley vanilla varnish vault velvet vendor veranda vertical vest victory video
    viewer vinegar vintage violin visible vitamin voice volcanic vortex voucher voyage walkway walnut wardrobe
    wasabi watch wealth weaver webcam weekend welcome whisper white widget wildlife window winter wishbone withdraw
    wolf wombat woodland workshop wrestler yearbook yellow yoga yummy zebra zigzag zodiac zoology zucchini
    """.split()  # noqa: SIM905 (a list to read)
)
"""In alphabetical order; a word chosen by chance has 10 bits of entropy."""
